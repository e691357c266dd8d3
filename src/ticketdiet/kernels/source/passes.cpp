// What lies between convolutions: BatchNorm with shortcut and ReLU, pooling, and the way into the layout and out of it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "common.hpp"

struct Moments {
    double count, mean, squares;
};

struct Norm {  // one BatchNorm in training; arrays have one number per channel
    const float *weight, *bias;
    float *running_mean, *running_var;
    float *mean, *inverse;  // of the batch: mean, and 1 / sqrt(variance + epsilon)
    double epsilon, momentum;
};

struct Extent {
    int64_t blocks, channels, height, width, last_lanes;
};

namespace {

// 1 for the first `count` lanes, 0 for the others.
Lanes first_lanes(int64_t count) {
    Lanes mask{};
    for (int64_t lane = 0; lane < count; ++lane) mask.parts[lane / REGISTER][lane % REGISTER] = 1.0f;
    return mask;
}

template <typename Work>
void for_planes(const Extent& extent, int64_t threads, Work&& work) {
    parallel(extent.blocks * extent.channels, threads, [&](int64_t unit) {
        const int64_t block = unit / extent.channels, channel = unit % extent.channels;
        work(block, channel, block + 1 == extent.blocks ? extent.last_lanes : LANES);
    });
}

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

inline float* plane(const View& view, int64_t block, int64_t channel) {
    return view.data + block * view.block + channel * view.channel;
}

}  // namespace

extern "C" {

int64_t td_version() { return 1; }

int64_t td_lanes() { return LANES; }

// Join the moments of `pieces` pieces per channel (Chan et al. 1979) into mean and 1 / sqrt(variance + epsilon), and move
// the running statistics as torch does: towards the unbiased variance.
void td_moments(const Norm* norm, const Moments* moments, int64_t pieces, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        Moments all{0, 0, 0};
        for (int64_t piece = 0; piece < pieces; ++piece) {
            const Moments& one = moments[piece * channels + c];
            const double count = all.count + one.count, apart = one.mean - all.mean;
            all.mean += apart * one.count / count;
            all.squares += one.squares + apart * apart * all.count * one.count / count;
            all.count = count;
        }
        const double variance = all.squares / all.count;
        norm->mean[c] = float(all.mean);
        norm->inverse[c] = float(1.0 / std::sqrt(variance + norm->epsilon));
        const double unbiased = all.squares / (all.count - 1);
        norm->running_mean[c] += float(norm->momentum * (all.mean - norm->running_mean[c]));
        norm->running_var[c] += float(norm->momentum * (unbiased - norm->running_var[c]));
    }
}

// out = relu(norm(in) + residual); residual.data may be null; in may be out.
void td_norm_forward(const Norm* norm, const Extent* extent, const View* in, const View* residual, const View* out,
                     int64_t relu, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        const Lanes real = first_lanes(lanes);
        const Part zero{};
        const float scale = norm->weight[c] * norm->inverse[c], mean = norm->mean[c], bias = norm->bias[c];
        for (int64_t y = 0; y < extent->height; ++y) {
            const float* from = plane(*in, block, c) + y * in->row;
            float* to = plane(*out, block, c) + y * out->row;
            const float* add = residual->data ? plane(*residual, block, c) + y * residual->row : nullptr;
            for (int64_t x = 0; x < extent->width * PARTS; ++x) {
                Part value = ((load(from + x * REGISTER) - mean) * scale + bias) * real.parts[x % PARTS];
                if (add) value += load(add + x * REGISTER);
                // Written so that a NaN stays one, as torch's relu leaves it.
                if (relu) value = value <= zero ? zero : value;
                store(to + x * REGISTER, value);
            }
        }
    });
}

// First pass backward: gradient *= (out > 0) where out is given, and the two sums that BatchNorm's gradient needs.
// sums: per block, channel: sum of the gradient, and of the gradient times (in - mean).
void td_norm_sums(const Norm* norm, const Extent* extent, const View* gradient, const View* out, const View* in,
                  double* sums, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t) {
        Lanes plain{}, with_in{};
        const Part zero{};
        const float mean = norm->mean[c];
        for (int64_t y = 0; y < extent->height; ++y) {
            float* g = plane(*gradient, block, c) + y * gradient->row;
            const float* shown = out->data ? plane(*out, block, c) + y * out->row : nullptr;
            const float* from = plane(*in, block, c) + y * in->row;
            for (int64_t x = 0; x < extent->width * LANES; x += LANES) {
                for (int part = 0; part < PARTS; ++part) {
                    const int64_t at = x + part * REGISTER;
                    Part value = load(g + at);
                    if (shown) {
                        value = load(shown + at) <= zero ? zero : value;
                        store(g + at, value);
                    }
                    plain.parts[part] += value;
                    with_in.parts[part] += value * (load(from + at) - mean);
                }
            }
        }
        sums[(block * extent->channels + c) * 2] = sum_lanes(plain);
        sums[(block * extent->channels + c) * 2 + 1] = sum_lanes(with_in);
    });
}

// Second pass backward: to = gradient of in; and the gradients of weight and bias. `to` may be `gradient`.
void td_norm_backward(const Norm* norm, const Extent* extent, const View* gradient, const View* in, const View* to,
                      const double* sums, float* weight_gradient, float* bias_gradient, int64_t threads) {
    const int64_t channels = extent->channels;
    const double count = double(((extent->blocks - 1) * LANES + extent->last_lanes) * extent->height * extent->width);
    std::vector<float> scale(static_cast<size_t>(channels)), slope(scale), shift(scale);
    for (int64_t c = 0; c < channels; ++c) {
        double plain = 0, with_in = 0;
        for (int64_t block = 0; block < extent->blocks; ++block) {
            plain += sums[(block * channels + c) * 2];
            with_in += sums[(block * channels + c) * 2 + 1];
        }
        const double inverse = norm->inverse[c], factor = norm->weight[c] * inverse;
        weight_gradient[c] = float(with_in * inverse);
        bias_gradient[c] = float(plain);
        scale[size_t(c)] = float(factor);
        slope[size_t(c)] = float(-factor * inverse * inverse * with_in / count);
        shift[size_t(c)] = float(-factor * plain / count);
    }
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        const Lanes real = first_lanes(lanes);
        const float a = scale[size_t(c)], b = slope[size_t(c)], d = shift[size_t(c)], mean = norm->mean[c];
        for (int64_t y = 0; y < extent->height; ++y) {
            const float* g = plane(*gradient, block, c) + y * gradient->row;
            const float* from = plane(*in, block, c) + y * in->row;
            float* into = plane(*to, block, c) + y * to->row;
            for (int64_t x = 0; x < extent->width * PARTS; ++x) {
                const int64_t at = x * REGISTER;
                store(into + at, (load(g + at) * a + (load(from + at) - mean) * b + d) * real.parts[x % PARTS]);
            }
        }
    });
}

// means: (images, channels): mean over the pixels of each plane.
void td_pool(const Extent* extent, const View* in, float* means, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        float sum[LANES] = {};
        for (int64_t y = 0; y < extent->height; ++y) {
            const float* from = plane(*in, block, c) + y * in->row;
            for (int64_t x = 0; x < extent->width; ++x)
                for (int64_t lane = 0; lane < LANES; ++lane) sum[lane] += from[x * LANES + lane];
        }
        const float pixels = float(extent->height * extent->width);
        for (int64_t lane = 0; lane < lanes; ++lane)
            means[(block * LANES + lane) * extent->channels + c] = sum[lane] / pixels;
    });
}

// The gradient of td_pool.
void td_unpool(const Extent* extent, const float* gradient, const View* to, int64_t threads) {
    const float pixels = float(extent->height * extent->width);
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        float value[LANES] = {};
        for (int64_t lane = 0; lane < lanes; ++lane)
            value[lane] = gradient[(block * LANES + lane) * extent->channels + c] / pixels;
        for (int64_t y = 0; y < extent->height; ++y) {
            float* into = plane(*to, block, c) + y * to->row;
            for (int64_t x = 0; x < extent->width; ++x) std::memcpy(into + x * LANES, value, sizeof value);
        }
    });
}

// images: strides in floats of image, channel, row, column. Lanes without an image become zero.
void td_enter(const Extent* extent, const float* images, const int64_t* strides, const View* to, int64_t threads) {
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        for (int64_t y = 0; y < extent->height; ++y) {
            float* into = plane(*to, block, c) + y * to->row;
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
            const float* from = plane(*in, block, c) + y * in->row;
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
