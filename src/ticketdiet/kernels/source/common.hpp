// What all kernels share: sixteen images as one vector, views of activations, and threads.
//
// Activations are laid out as (block, channel, row, column, 16): the sixteen images of a block are innermost, so that one
// weight times one pixel of sixteen images is one broadcast and one or a few vector instructions on any CPU. Rows and
// columns may have a border of zeros around them; pointers name the first pixel inside it.
#pragma once

#include <cstdint>
#include <functional>

constexpr int64_t LANES = 16;

// One vector register; the lanes of a pixel are PARTS of them. Compilers keep arrays of these in registers, which they do
// not do for vectors wider than the CPU's.
#if defined(__AVX512F__)
constexpr int64_t REGISTER = 16;
#elif defined(__AVX__)
constexpr int64_t REGISTER = 8;
#else
constexpr int64_t REGISTER = 4;
#endif
constexpr int PARTS = int(LANES / REGISTER);
typedef float Part __attribute__((vector_size(REGISTER * 4)));

// Activations; strides in floats. A column is LANES floats from the next one.
struct View {
    float* data;
    int64_t block, channel, row;
};

static inline float* row_of(const View& view, int64_t block, int64_t channel, int64_t row) {
    return view.data + block * view.block + channel * view.channel + row * view.row;
}

struct Extent {
    int64_t blocks, channels, height, width, last_lanes;  // images in the last block
};

static inline Part load(const float* from) { return *reinterpret_cast<const Part*>(from); }
static inline void store(float* to, Part value) { *reinterpret_cast<Part*>(to) = value; }

struct Lanes {  // sixteen numbers
    Part parts[PARTS];
};

// Sum of the first `count` lanes, always in the same order.
static inline double sum_lanes(const Lanes& value, int64_t count = LANES) {
    double sum = 0;
    for (int64_t lane = 0; lane < count; ++lane) sum += value.parts[lane / REGISTER][lane % REGISTER];
    return sum;
}

// The same in float, by halves: cheaper, and exact enough where the lanes hold float sums already.
static inline float fold_lanes(const Lanes& value) {
    typedef float Half __attribute__((vector_size(LANES * 2)));
    typedef float Quarter __attribute__((vector_size(LANES)));
    alignas(64) float lanes[LANES];
    for (int part = 0; part < PARTS; ++part) store(lanes + part * REGISTER, value.parts[part]);
    const Half* halves = reinterpret_cast<const Half*>(lanes);
    const Half half = halves[0] + halves[1];
    alignas(32) float eight[LANES / 2];
    *reinterpret_cast<Half*>(eight) = half;
    const Quarter* quarters = reinterpret_cast<const Quarter*>(eight);
    const Quarter quarter = quarters[0] + quarters[1];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// Call `work` for 0 .. count - 1 on up to `threads` threads, each index exactly once. A thread begins with its own share of
// them, the same in every call, because what lies there may still be in its cache; it goes through it from the end when
// `backwards`, and then helps the others.
void parallel(int64_t count, int64_t threads, const std::function<void(int64_t)>& work, bool backwards = false);

// Call `work(block, channel, images)` for every plane.
template <typename Work>
void for_planes(const Extent& extent, int64_t threads, Work&& work) {
    parallel(extent.blocks * extent.channels, threads, [&](int64_t unit) {
        const int64_t block = unit / extent.channels, channel = unit % extent.channels;
        work(block, channel, block + 1 == extent.blocks ? extent.last_lanes : LANES);
    });
}
