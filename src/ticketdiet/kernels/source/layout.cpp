// The way into the layout and out of it.
#include <cstring>

#include "common.hpp"

namespace {

typedef float Four __attribute__((vector_size(16)));
typedef float FourAnywhere __attribute__((vector_size(16), aligned(4)));

#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int FourInts __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, FourInts{__VA_ARGS__})
#endif

// Turn four rows of four numbers, `step` floats apart, into four columns at `to`, `apart` floats apart.
inline void transpose(const float* from, int64_t step, float* to, int64_t apart) {
    Four row[4];
    for (int i = 0; i < 4; ++i) row[i] = *reinterpret_cast<const FourAnywhere*>(from + i * step);
    const Four a = PICK(row[0], row[1], 0, 4, 1, 5), b = PICK(row[2], row[3], 0, 4, 1, 5);
    const Four c = PICK(row[0], row[1], 2, 6, 3, 7), d = PICK(row[2], row[3], 2, 6, 3, 7);
    const Four column[4] = {PICK(a, b, 0, 1, 4, 5), PICK(a, b, 2, 3, 6, 7), PICK(c, d, 0, 1, 4, 5),
                            PICK(c, d, 2, 3, 6, 7)};
    for (int i = 0; i < 4; ++i) *reinterpret_cast<FourAnywhere*>(to + i * apart) = column[i];
}

}  // namespace

extern "C" {

int64_t td_version() { return 2; }

int64_t td_lanes() { return LANES; }

// images: strides in floats of image, channel, row, column. Lanes without an image become zero.
void td_enter(const Extent* extent, const float* images, const int64_t* strides, const View* to, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        for (int64_t y = 0; y < extent->height; ++y) {
            float* into = row_of(*to, block, c, y);
            const float* from = images + block * LANES * strides[0] + c * strides[1] + y * strides[2];
            if (lanes < LANES) std::memset(into, 0, size_t(extent->width * LANES) * sizeof(float));
            const int64_t quick = lanes == LANES && strides[3] == 1 ? extent->width / 4 * 4 : 0;
            for (int64_t x = 0; x < quick; x += 4)
                for (int64_t lane = 0; lane < LANES; lane += 4)
                    transpose(from + lane * strides[0] + x, strides[0], into + x * LANES + lane, LANES);
            for (int64_t x = quick; x < extent->width; ++x)
                for (int64_t lane = 0; lane < lanes; ++lane)
                    into[x * LANES + lane] = from[lane * strides[0] + x * strides[3]];
        }
    });
}

// The way back of td_enter.
void td_leave(const Extent* extent, const View* in, float* images, const int64_t* strides, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        for (int64_t y = 0; y < extent->height; ++y) {
            const float* from = row_of(*in, block, c, y);
            float* into = images + block * LANES * strides[0] + c * strides[1] + y * strides[2];
            const int64_t quick = lanes == LANES && strides[3] == 1 ? extent->width / 4 * 4 : 0;
            for (int64_t x = 0; x < quick; x += 4)
                for (int64_t lane = 0; lane < LANES; lane += 4)
                    transpose(from + x * LANES + lane, LANES, into + lane * strides[0] + x, strides[0]);
            for (int64_t x = quick; x < extent->width; ++x)
                for (int64_t lane = 0; lane < lanes; ++lane)
                    into[lane * strides[0] + x * strides[3]] = from[x * LANES + lane];
        }
    });
}

}  // extern "C"
