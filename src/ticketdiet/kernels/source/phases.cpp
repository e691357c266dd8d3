// One phase of a network's pass, forward and backward, band by band.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "phases.hpp"

namespace {

// Scratch memory of the calling thread, which only grows. What it held before is lost.
float* scratch(int64_t floats) {
    struct Free {
        void operator()(float* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<float, Free> memory;
    thread_local int64_t held = 0;
    if (floats > held) {
        const int64_t rounded = (floats + LANES - 1) / LANES * LANES;
        memory.reset(static_cast<float*>(std::aligned_alloc(64, size_t(rounded) * sizeof(float))));
        if (memory == nullptr) throw std::bad_alloc();
        held = rounded;
    }
    return memory.get();
}

inline Part relu(Part value) {
    const Part zero{};
    return value <= zero ? zero : value;  // so that a NaN stays one, as torch's relu leaves it
}

struct Affine {
    float mean, scale, bias;
    Affine(const Norm& norm, int64_t c)
        : mean(norm.mean[c]), scale(norm.weight[c] * norm.inverse[c]), bias(norm.bias[c]) {}
    Part operator()(Part value) const { return (value - mean) * scale + bias; }
};

// Set the lanes from `lanes` on of a row to 0.
void silence(float* row, int64_t floats, int64_t lanes) {
    for (int64_t x = 0; x < floats; x += LANES) std::fill(row + x + lanes, row + x + LANES, 0.0f);
}

void write_row(const Activation& what, float* to, int64_t block, int64_t c, int64_t y, int64_t floats) {
    const float* from = row_of(what.data, block, c, y);
    if (what.norm == nullptr) {
        std::memcpy(to, from, size_t(floats) * sizeof(float));
        return;
    }
    const Affine norm(*what.norm, c);
    if (what.added.data == nullptr) {
        for (int64_t x = 0; x < floats; x += REGISTER) store(to + x, relu(norm(load(from + x))));
        return;
    }
    const float* added = row_of(what.added, block, c, y);
    if (what.added_norm == nullptr) {
        for (int64_t x = 0; x < floats; x += REGISTER) store(to + x, relu(norm(load(from + x)) + load(added + x)));
    } else {
        const Affine other(*what.added_norm, c);
        for (int64_t x = 0; x < floats; x += REGISTER)
            store(to + x, relu(norm(load(from + x)) + other(load(added + x))));
    }
}

// Call `write(row, channel, y)` for the rows `first` to `end` of each channel, in scratch memory; rows outside and the columns
// at the sides become 0.
template <typename Write>
void bring(float* to, const Scratch& layout, const Extent& extent, int64_t first, int64_t end, Write&& write) {
    const int64_t side = layout.pad * LANES, floats = extent.width * LANES;
    for (int64_t c = 0; c < extent.channels; ++c) {
        for (int64_t y = first; y < end; ++y) {
            float* row = to + c * layout.channel + (y - first) * layout.row;
            if (y < 0 || y >= extent.height) {
                std::memset(row, 0, size_t(floats + 2 * side) * sizeof(float));
                continue;
            }
            std::memset(row, 0, size_t(side) * sizeof(float));
            std::memset(row + side + floats, 0, size_t(side) * sizeof(float));
            write(row + side, c, y);
        }
    }
}

void bring_input(float* to, const Activation& what, const Convolution& convolution, const Band& band, int64_t block,
                 int64_t lanes) {
    const int64_t floats = convolution.in.width * LANES;
    bring(to, convolution.input, convolution.in, band.in_first, band.in_end, [&](float* row, int64_t c, int64_t y) {
        write_row(what, row, block, c, y, floats);
        if (lanes < LANES) silence(row, floats, lanes);
        if (what.kept.data != nullptr && y >= band.own_first && y < band.own_end)
            std::memcpy(row_of(what.kept, block, c, y), row, size_t(floats) * sizeof(float));
    });
}

void gather(const Taps& taps, const float* weights) {
    const int64_t count = taps.lists.entries();
    for (int64_t e = 0; e < count; ++e) taps.lists.values[e] = weights[taps.index[e]];
}

// Work on each band of each block. A thread takes neighbouring bands, so that the rows they share are still in its cache; and
// every other phase goes backwards, to begin with what the one before has written last.
template <typename Work>
void for_bands(const Convolution& convolution, int64_t threads, bool backwards, Work&& work) {
    const int64_t blocks = convolution.in.blocks, bands = convolution.num_bands;
    const int64_t wanted = threads == 1 ? 1 : (4 * threads + blocks - 1) / blocks, runs = std::min(bands, wanted);
    auto run = [&](int64_t index) {
        const int64_t block = index / runs, first = index % runs * bands / runs, end = (index % runs + 1) * bands / runs;
        const int64_t lanes = block + 1 == blocks ? convolution.in.last_lanes : LANES;
        for (int64_t n = first; n < end; ++n) {
            const int64_t band = backwards ? first + end - 1 - n : n;
            work(block * bands + band, block, convolution.bands[band], lanes);
        }
    };
    parallel(blocks * runs, threads, run, backwards);
}

// Take the running statistics.
void take_running(const Norm& norm, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        norm.mean[c] = norm.running_mean[c];
        norm.inverse[c] = float(1.0 / std::sqrt(double(norm.running_var[c]) + norm.epsilon));
    }
}

// Join the moments of `pieces` pieces per channel (Chan et al. 1979) into mean and 1 / sqrt(variance + epsilon), and move
// the running statistics as torch does: towards the unbiased variance.
void take_statistics(const Norm& norm, int64_t pieces, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        Moments all{0, 0, 0};
        for (int64_t piece = 0; piece < pieces; ++piece) {
            const Moments& one = norm.moments[piece * channels + c];
            const double count = all.count + one.count, apart = one.mean - all.mean;
            all.mean += apart * one.count / count;
            all.squares += one.squares + apart * apart * all.count * one.count / count;
            all.count = count;
        }
        const double variance = all.squares / all.count;
        norm.mean[c] = float(all.mean);
        norm.inverse[c] = float(1.0 / std::sqrt(variance + norm.epsilon));
        const double unbiased = all.squares / (all.count - 1);
        norm.running_mean[c] += float(norm.momentum * (all.mean - norm.running_mean[c]));
        norm.running_var[c] += float(norm.momentum * (unbiased - norm.running_var[c]));
    }
}

// The gradient of a BatchNorm's input is (gradient - average - (input - mean) * slope) * scale, per channel.
struct Slopes {
    std::vector<float> average, slope, scale;
};

Slopes slopes_of(const Norm& norm, const Extent& extent, float* weight_gradient, float* bias_gradient) {
    const int64_t channels = extent.channels;
    const double count = double(((extent.blocks - 1) * LANES + extent.last_lanes) * extent.height * extent.width);
    const std::vector<float> zeros(static_cast<size_t>(channels));
    Slopes found{zeros, zeros, zeros};
    for (int64_t c = 0; c < channels; ++c) {
        double plain = 0, with_in = 0;
        for (int64_t piece = 0; piece < norm.pieces; ++piece) {
            plain += norm.sums[(piece * channels + c) * 2];
            with_in += norm.sums[(piece * channels + c) * 2 + 1];
        }
        const double inverse = norm.inverse[c];
        weight_gradient[c] += float(with_in * inverse);
        bias_gradient[c] += float(plain);
        found.average[size_t(c)] = float(plain / count);
        found.slope[size_t(c)] = float(inverse * inverse * with_in / count);
        found.scale[size_t(c)] = float(norm.weight[c] * inverse);
    }
    return found;
}

void bring_gradient(float* to, const BackwardPhase& phase, const Slopes& slopes, const Band& band, int64_t block,
                    int64_t lanes) {
    const Convolution& convolution = *phase.convolution;
    const int64_t floats = convolution.out.width * LANES;
    bring(to, convolution.gradient, convolution.out, band.gradient_first, band.gradient_end,
          [&](float* row, int64_t c, int64_t y) {
              const float average = slopes.average[size_t(c)], slope = slopes.slope[size_t(c)];
              const float scale = slopes.scale[size_t(c)], mean = phase.norm->mean[c];
              const float *g = row_of(phase.gradient, block, c, y), *in = row_of(phase.pre, block, c, y);
              for (int64_t x = 0; x < floats; x += REGISTER)
                  store(row + x, (load(g + x) - average - (load(in + x) - mean) * slope) * scale);
              if (lanes < LANES) silence(row, floats, lanes);
          });
}

// Hand rows `first` to `end` of a channel to a receiver. `from(y)` is the gradient there, `shown(y)` the activation.
template <bool ADD, bool CUT, int NORMS, typename From, typename Shown>
void receive_as(const Receiver& to, int64_t block, int64_t c, int64_t channels, int64_t piece, int64_t first, int64_t end,
                int64_t floats, From&& from, Shown&& shown) {
    Lanes plain{}, with_first{}, with_second{};
    const Part zero{};
    const float mean = NORMS > 0 ? to.first_norm->mean[c] : 0, other = NORMS > 1 ? to.second_norm->mean[c] : 0;
    for (int64_t y = first; y < end; ++y) {
        const float *gradient = from(y), *activation = shown(y);
        const float* added = ADD ? row_of(to.added, block, c, y) : nullptr;
        const float* one = NORMS > 0 ? row_of(to.first, block, c, y) : nullptr;
        const float* two = NORMS > 1 ? row_of(to.second, block, c, y) : nullptr;
        float* out = row_of(to.out, block, c, y);
        for (int64_t x = 0; x < floats; x += LANES) {
            for (int part = 0; part < PARTS; ++part) {
                const int64_t at = x + part * REGISTER;
                Part value = load(gradient + at);
                if (ADD) value += load(added + at);
                if (CUT) value = load(activation + at) <= zero ? zero : value;
                if (NORMS > 0) plain.parts[part] += value, with_first.parts[part] += value * (load(one + at) - mean);
                if (NORMS > 1) with_second.parts[part] += value * (load(two + at) - other);
                store(out + at, value);
            }
        }
    }
    auto note = [&](Norm* norm, const Lanes& with) {
        norm->sums[(piece * channels + c) * 2] = sum_lanes(plain);
        norm->sums[(piece * channels + c) * 2 + 1] = sum_lanes(with);
    };
    if (NORMS > 0) note(to.first_norm, with_first);
    if (NORMS > 1) note(to.second_norm, with_second);
}

template <typename... Rest>
void receive(const Receiver& to, Rest&&... rest) {
    const bool add = to.added.data != nullptr;
    if (!to.cut) return add ? receive_as<true, false, 0>(to, rest...) : receive_as<false, false, 0>(to, rest...);
    if (to.second_norm != nullptr) return add ? receive_as<true, true, 2>(to, rest...) : receive_as<false, true, 2>(to, rest...);
    add ? receive_as<true, true, 1>(to, rest...) : receive_as<false, true, 1>(to, rest...);
}

void announce(const Receiver& to, int64_t pieces) {
    if (to.first_norm != nullptr) to.first_norm->pieces = pieces;
    if (to.second_norm != nullptr) to.second_norm->pieces = pieces;
}

int64_t up(int64_t value, int64_t step) { return value <= 0 ? -(-value / step) : (value + step - 1) / step; }

// The gradient of the input in the rows that a band owns, (channels, own rows, width, 16).
void input_gradient(const Convolution& convolution, const Band& band, const float* gradient, float* into) {
    const int64_t row = convolution.in.width * LANES, channel = convolution.own_rows * row;
    for (int64_t n = 0; n < convolution.num_backward; ++n) {
        const Taps& taps = convolution.backward[n];
        const int64_t first = up(band.own_first - taps.first_row, convolution.stride_rows);
        const int64_t rows = up(band.own_end - taps.first_row, convolution.stride_rows) - first;
        const int64_t columns = up(convolution.in.width - taps.first_column, convolution.stride_columns);
        if (rows <= 0 || columns <= 0) continue;
        const Scratch& layout = convolution.gradient;
        const Grid grid{nullptr, nullptr, 1, rows, columns, 0, channel, row * convolution.stride_rows,
                        LANES * convolution.stride_columns, 0, layout.row, LANES};
        const std::vector<Tile> tiles = cut(rows, columns);
        const int64_t y = first * convolution.stride_rows + taps.first_row - band.own_first;
        convolve_tiles(grid, taps.lists, nullptr,
                       gradient + (first - band.gradient_first) * layout.row + layout.pad * LANES,
                       into + y * row + taps.first_column * LANES, 0, taps.lists.outs, tiles.data(),
                       int64_t(tiles.size()), nullptr, LANES);
    }
}

// The output pixels of a band over its input in scratch memory.
Grid over(const Convolution& convolution, int64_t rows, int64_t out_channel, int64_t out_row) {
    return {nullptr, nullptr, 1, rows, convolution.out.width, 0, out_channel, out_row, LANES,
            0, convolution.input.row * convolution.stride_rows, LANES * convolution.stride_columns};
}

// The input pixel under the first output pixel of a band.
const float* under(const Convolution& convolution, const Band& band, const float* input) {
    const Scratch& layout = convolution.input;
    return input + (band.out_first * convolution.stride_rows - band.in_first) * layout.row + layout.pad * LANES;
}

void forward(const ForwardPhase& phase, bool training, bool backwards, int64_t threads) {
    const Convolution& convolution = *phase.convolution;
    const Lists& lists = convolution.forward.lists;
    const Scratch& layout = convolution.input;
    gather(convolution.forward, convolution.weights);
    const int64_t size = convolution.in.channels * layout.channel, outs = lists.outs;
    for_bands(convolution, threads, backwards, [&](int64_t piece, int64_t block, const Band& band, int64_t lanes) {
        float* input = scratch(size);
        bring_input(input, *phase.source, convolution, band, block, lanes);
        const int64_t rows = band.out_end - band.out_first;
        const std::vector<Tile> tiles = cut(rows, convolution.out.width);
        const Grid grid = over(convolution, rows, phase.out.channel, phase.out.row);
        std::vector<Sums> sums(training ? size_t(outs) : 0);
        convolve_tiles(grid, lists, nullptr, under(convolution, band, input), row_of(phase.out, block, 0, band.out_first), 0,
                       outs, tiles.data(), int64_t(tiles.size()), training ? sums.data() : nullptr, lanes);
        for (int64_t o = 0; training && o < outs; ++o)
            phase.norm->moments[piece * outs + o] = moments_of(sums[size_t(o)], lanes);
    });
    if (training) take_statistics(*phase.norm, convolution.in.blocks * convolution.num_bands, outs);
    else take_running(*phase.norm, outs);
}

void weights_gradient(const BackwardPhase& phase, int64_t threads) {
    constexpr int64_t CHUNK = 1024;
    const Taps& taps = phase.convolution->forward;
    const int64_t entries = taps.lists.entries();
    const int64_t pieces = phase.convolution->in.blocks * phase.convolution->num_bands;
    parallel((entries + CHUNK - 1) / CHUNK, threads, [&](int64_t chunk) {
        for (int64_t e = chunk * CHUNK; e < std::min(entries, (chunk + 1) * CHUNK); ++e) {
            double sum = 0;
            for (int64_t piece = 0; piece < pieces; ++piece) sum += phase.partial[piece * entries + e];
            phase.weights_gradient[taps.index[e]] += float(sum);
        }
    });
}

void backward(const BackwardPhase& phase, bool backwards, int64_t threads) {
    const Convolution& convolution = *phase.convolution;
    const Lists& lists = convolution.forward.lists;
    const int64_t entries = lists.entries(), channels = convolution.in.channels;
    const Slopes slopes = slopes_of(*phase.norm, convolution.out, phase.norm_weight_gradient, phase.norm_bias_gradient);
    for (int64_t n = 0; phase.receiver && n < convolution.num_backward; ++n)
        gather(convolution.backward[n], convolution.weights);
    const std::vector<int64_t> groups = groups_of(lists, ENTRIES);
    const Scratch &in = convolution.input, &out = convolution.gradient;
    const int64_t in_size = channels * in.channel, out_size = convolution.out.channels * out.channel;
    const int64_t floats = convolution.in.width * LANES, own_channel = convolution.own_rows * floats;
    const int64_t size = in_size + out_size + (phase.receiver ? channels * own_channel : 0);
    for_bands(convolution, threads, backwards, [&](int64_t piece, int64_t block, const Band& band, int64_t lanes) {
        float* input = scratch(size);
        float *output = input + in_size, *own = output + out_size;
        bring_input(input, *phase.source, convolution, band, block, lanes);
        bring_gradient(output, phase, slopes, band, block, lanes);
        const int64_t rows = band.out_end - band.out_first;
        const std::vector<Tile> tiles = cut(rows, convolution.out.width);
        const Grid grid = over(convolution, rows, out.channel, out.row);
        const float* seen = output + (band.out_first - band.gradient_first) * out.row + out.pad * LANES;
        for (size_t group = 0; group + 1 < groups.size(); ++group)
            correlate_tiles(grid, lists, under(convolution, band, input), seen, groups[group], groups[group + 1],
                            tiles.data(), int64_t(tiles.size()), phase.partial + piece * entries + lists.begin(groups[group]));
        if (!phase.receiver) return;
        input_gradient(convolution, band, output, own);
        for (int64_t c = 0; c < channels; ++c)
            receive(
                *phase.receiver, block, c, channels, piece, band.own_first, band.own_end, floats,
                [&](int64_t y) { return own + c * own_channel + (y - band.own_first) * floats; },
                [&](int64_t y) { return input + c * in.channel + (y - band.in_first) * in.row + in.pad * LANES; });
    });
    if (phase.receiver) announce(*phase.receiver, convolution.in.blocks * convolution.num_bands);
    weights_gradient(phase, threads);
}

}  // namespace

extern "C" {

// Do the phases of a forward pass in order.
void td_forward(const ForwardPhase* phases, int64_t count, int64_t training, int64_t threads) {
    for (int64_t n = 0; n < count; ++n) forward(phases[n], training != 0, n % 2 != 0, threads);
}

// Do the phases of a backward pass in order, which follows a forward pass of as many.
void td_backward(const BackwardPhase* phases, int64_t count, int64_t threads) {
    for (int64_t n = 0; n < count; ++n) backward(phases[n], (count + n) % 2 != 0, threads);
}

// means: (images, channels): mean of the activation over the pixels of each plane. It has to be kept for td_unpool.
void td_pool(const Activation* source, const Extent* extent, float* means, int64_t threads) {
    const int64_t floats = extent->width * LANES;
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        Lanes sum{};
        for (int64_t y = 0; y < extent->height; ++y) {
            float* row = row_of(source->kept, block, c, y);
            write_row(*source, row, block, c, y, floats);
            if (lanes < LANES) silence(row, floats, lanes);
            for (int64_t x = 0; x < floats; x += REGISTER)
                sum.parts[x / REGISTER % PARTS] += load(row + x);
        }
        const float pixels = float(extent->height * extent->width);
        for (int64_t lane = 0; lane < lanes; ++lane)
            means[(block * LANES + lane) * extent->channels + c] =
                sum.parts[lane / REGISTER][lane % REGISTER] / pixels;
    });
}

// The gradient of td_pool; `shown` is the activation.
void td_unpool(const float* gradient, const Extent* extent, const View* shown, const Receiver* receiver, int64_t threads) {
    const float pixels = float(extent->height * extent->width);
    const int64_t floats = extent->width * LANES;
    for_planes(*extent, threads, [&](int64_t block, int64_t c, int64_t lanes) {
        float* row = scratch(floats);
        std::fill(row, row + floats, 0.0f);
        for (int64_t lane = 0; lane < lanes; ++lane)
            row[lane] = gradient[(block * LANES + lane) * extent->channels + c] / pixels;
        for (int64_t x = LANES; x < floats; x += LANES) std::memcpy(row + x, row, LANES * sizeof(float));
        receive(
            *receiver, block, c, extent->channels, block, 0, extent->height, floats, [&](int64_t) { return row; },
            [&](int64_t y) { return row_of(*shown, block, c, y); });
    });
    announce(*receiver, extent->blocks);
}

}  // extern "C"
