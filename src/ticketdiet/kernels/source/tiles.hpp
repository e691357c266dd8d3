// The inner loops that all convolutions share: tiles of output pixels, and the passes of a list over them.
//
// A tile of output pixels stays in registers while the list of one output channel passes: an entry is an offset into the
// input and a value. The gradient of the input is the same loop on the transposed list. For the gradient of the weights
// the tile is of the output's gradient, and each entry has a vector of sums.
#pragma once

#include <vector>

#include "common.hpp"

constexpr int64_t ENTRIES = 4096;  // kept weights whose sums stay in the cache together

struct Lists {
    const int32_t* cuts;     // outs * parts + 1: where each part of the list of each output channel begins
    const int32_t* offsets;  // floats from the input pixel under the output pixel
    float* values;
    int64_t outs, parts;  // parts are of neighbouring input channels, whose pixels under a tile stay in the first cache
    int32_t begin(int64_t out) const { return cuts[out * parts]; }
    int32_t entries() const { return cuts[outs * parts]; }
};

struct Grid {  // the output pixels of a call, and where they and the input pixels under them lie; strides in floats
    float* out;
    const float* in;
    int64_t blocks, height, width;
    int64_t out_block, out_channel, out_row, out_column;
    int64_t in_block, in_row, in_column;
};

struct Moments {  // of one channel in one piece of work
    double count, mean, squares;  // squares: sum of squared distances from the mean
};

struct Sums {  // what becomes Moments, while tiles are written
    Lanes sum{}, squares{};
    float centre = 0;
    bool begun = false;
    int64_t pixels = 0;
};

enum Shape : int { WIDE, TWO_ROWS, FOUR_ROWS, HALF, QUARTER, PAIR, ONE };

struct Tile {
    int64_t y, x;
    Shape shape;
};

// Cut a grid into tiles: whole ones first, then what is left at the right and at the bottom.
std::vector<Tile> cut(int64_t height, int64_t width);

// Write the sums over the lists of channels `first` to `last` at every pixel of `count` tiles. `in` and `out` are
// those of one block. `sums` may be null; it has one element a channel, from `first` on, and `lanes` images are real.
void convolve_tiles(const Grid& grid, const Lists& lists, const float* bias, const float* in, float* out,
                    int64_t first, int64_t last, const Tile* tiles, int64_t count, Sums* sums, int64_t lanes);

// Write to `found` the gradient of every kept weight of channels `first` to `last` over these tiles.
void correlate_tiles(const Grid& grid, const Lists& lists, const float* in, const float* out, int64_t first, int64_t last,
                     const Tile* tiles, int64_t count, float* found);

// Cut the output channels into groups whose sums stay in the cache together; `most` entries a group, where possible.
std::vector<int64_t> groups_of(const Lists& lists, int64_t most);

Moments moments_of(const Sums& sums, int64_t lanes);
