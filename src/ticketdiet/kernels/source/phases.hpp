// What one phase of a network's pass is given: a convolution under its mask, and what lies before it.
//
// BatchNorm has to see the whole batch before it can be applied, so a pass is cut there and nowhere else: a phase begins with
// reading what the phase before has written, and ends with writing what the next one has to wait for. Everything between
// the two happens on a band of rows of sixteen images in a scratch memory that stays in a core's cache.
#pragma once

#include "tiles.hpp"

struct Norm {  // one BatchNorm; arrays have one number per channel
    const float *weight, *bias;
    float *running_mean, *running_var;
    float *mean, *inverse;  // that are applied: mean, and 1 / sqrt(variance + epsilon)
    Moments* moments;       // forward: (pieces, channels)
    double* sums;           // backward: (pieces, channels, 2): of the gradient, and of the gradient times (input - mean)
    double epsilon, momentum;
    int64_t pieces;  // of `sums`
};

// An activation: `data` as it is when `norm` is null, else relu(norm(data) + added_norm(added)); `added` may be null, and
// `added_norm`, too. It is written to `kept` where that is not null.
struct Activation {
    View data, added, kept;
    const Norm *norm, *added_norm;
};

// Where the gradient of an activation goes: added to `added` where that is not null, set to 0 where the ReLU was shut if
// `cut`, and written to `out`. `first` and `second` are the inputs of the BatchNorms that made the activation, whose sums are
// measured on the way.
struct Receiver {
    View out, added, first, second;
    Norm *first_norm, *second_norm;
    int64_t cut;
};

struct Band {  // of rows; the ends are excluded. Rows of input and gradient may lie outside the images, where there is 0
    int64_t out_first, out_end;            // of the output
    int64_t in_first, in_end;              // of the input that are brought to the scratch memory
    int64_t own_first, own_end;            // of the input that belong to this band alone
    int64_t gradient_first, gradient_end;  // of the output's gradient that are brought to the scratch memory
};

struct Scratch {  // layout of a band in scratch memory; strides in floats
    int64_t channel, row, pad;  // pad: columns of 0 at either side
};

struct Taps {  // a list of kept weights, and where their values come from
    Lists lists;
    const int64_t* index;
    int64_t first_row, first_column;  // residue of the input pixels that a list of the input's gradient is for
};

struct Convolution {
    Extent in, out;
    const Band* bands;
    int64_t num_bands;
    int64_t stride_rows, stride_columns;
    Scratch input, gradient;
    int64_t own_rows;      // of the input, in the highest band
    const float* weights;  // storage
    Taps forward;
    const Taps* backward;
    int64_t num_backward;
};

struct ForwardPhase {  // out = convolution of source; then `norm` takes the statistics of `out`, or the running ones
    const Convolution* convolution;
    const Activation* source;
    View out;
    const Norm* norm;
};

// `gradient` is that of norm(pre), and `pre` the convolution of `source`. Adds the gradients of the weights and of the norm to
// what is there, and gives that of `source` to `receiver` unless it is null. `partial`: pieces * kept weights.
struct BackwardPhase {
    const Convolution* convolution;
    const Activation* source;
    View pre, gradient;
    const Norm* norm;
    const Receiver* receiver;
    float *partial, *weights_gradient, *norm_weight_gradient, *norm_bias_gradient;
};
