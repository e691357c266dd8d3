// What all kernels share: sixteen images as one vector, views of activations, and threads.
//
// Activations are laid out as (block, channel, row, column, 16): the sixteen images of a block are innermost, so that one
// weight times one pixel of sixteen images is one broadcast and one or a few vector instructions on any CPU. Rows and
// columns may have a border of zeros around them; pointers name the first pixel inside it.
#pragma once

#include <cstdint>
#include <functional>

constexpr int64_t LANES = 16;

typedef float Lanes __attribute__((vector_size(64)));

// Activations; strides in floats. A column is LANES floats from the next one.
struct View {
    float* data;
    int64_t block, channel, row;
};

static inline Lanes load(const float* from) { return *reinterpret_cast<const Lanes*>(from); }
static inline void store(float* to, Lanes value) { *reinterpret_cast<Lanes*>(to) = value; }
static inline Lanes same(float value) { return Lanes{} + value; }

// 1 for the first `count` lanes, 0 for the others.
static inline Lanes first_lanes(int64_t count) {
    Lanes mask{};
    for (int64_t lane = 0; lane < LANES; ++lane) mask[lane] = lane < count ? 1.0f : 0.0f;
    return mask;
}

// Sum of the first `count` lanes, always in the same order.
static inline double sum_lanes(Lanes value, int64_t count = LANES) {
    double sum = 0;
    for (int64_t lane = 0; lane < count; ++lane) sum += value[lane];
    return sum;
}

// Call `work` for 0 .. count - 1 on up to `threads` threads, each index exactly once.
void parallel(int64_t count, int64_t threads, const std::function<void(int64_t)>& work);
