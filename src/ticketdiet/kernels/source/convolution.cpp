// Convolution by lists of kept weights: forward, the gradient of the input, and the gradient of the kept weights.
#include <algorithm>
#include <vector>

#include "tiles.hpp"

// Pixels of a tile: as many as leave registers for the weight and for one load.
#if defined(__AVX512F__)
constexpr int TILE = 16;
#elif defined(__AVX__) || defined(__aarch64__)
constexpr int TILE = 4;
#else
constexpr int TILE = 2;
#endif
constexpr int64_t UNITS = 32;     // pieces of work wanted, whatever the number of threads: sums depend on the pieces
constexpr int64_t FEWEST = 1024;   // kept weights that are worth reading the input once more for

namespace {

constexpr int at_most(int wanted) { return wanted < TILE ? wanted : TILE; }
constexpr int rows_of(Shape shape) { return at_most(shape == TWO_ROWS ? 2 : shape == FOUR_ROWS ? 4 : 1); }
constexpr int columns_of(Shape shape) {
    switch (shape) {
        case WIDE: return TILE;
        case TWO_ROWS:
        case FOUR_ROWS: return TILE / rows_of(shape);
        case HALF: return at_most(8);
        case QUARTER: return at_most(4);
        case PAIR: return at_most(2);
        default: return 1;
    }
}

// A tile is an array of parts, those of one pixel after another.
template <int PIXELS>
inline void note(Sums& sums, const Part* tile, int64_t lanes) {
    if (!sums.begun) {
        Lanes total{};
        for (int i = 0; i < PIXELS * PARTS; ++i) total.parts[i % PARTS] += tile[i];
        sums.centre = float(sum_lanes(total, lanes) / double(PIXELS * lanes));
        sums.begun = true;
    }
    Part sum[PARTS]{}, squares[PARTS]{};
#pragma GCC unroll 16
    for (int i = 0; i < PIXELS * PARTS; ++i) {
        const Part off = tile[i] - sums.centre;
        sum[i % PARTS] += off;
        squares[i % PARTS] += off * off;
    }
    for (int part = 0; part < PARTS; ++part) {
        sums.sum.parts[part] += sum[part];
        sums.squares.parts[part] += squares[part];
    }
    sums.pixels += PIXELS;
}

// Floats from the first pixel of a tile to part i of it.
template <int C>
inline int64_t place(int i, int64_t row, int64_t column) {
    return (i / PARTS / C) * row + (i / PARTS % C) * column + (i % PARTS) * REGISTER;
}

// COLUMN: floats between neighbouring input pixels when known beforehand, else 0.
template <int R, int C, int COLUMN>
void convolve_tile(const Grid& grid, const Lists& lists, int64_t part, const float* bias, const float* in, float* out,
                   int64_t first, int64_t last, Sums* sums, int64_t lanes) {
    const int64_t column = COLUMN ? COLUMN : grid.in_column, row = grid.in_row;
    for (int64_t o = first; o < last; ++o) {
        float* to = out + o * grid.out_channel;
        const int32_t begin = lists.cuts[o * lists.parts + part], end = lists.cuts[o * lists.parts + part + 1];
        Part tile[R * C * PARTS];
#pragma GCC unroll 16
        for (int i = 0; i < R * C * PARTS; ++i)
            tile[i] = part ? load(to + place<C>(i, grid.out_row, grid.out_column)) : Part{};
        for (int32_t e = begin; e < end; ++e) {
            const float* from = in + lists.offsets[e];
            const float value = lists.values[e];
#pragma GCC unroll 16
            for (int i = 0; i < R * C * PARTS; ++i) tile[i] += load(from + place<C>(i, row, column)) * value;
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * C * PARTS; ++i) {
            float* pixel = to + place<C>(i, grid.out_row, grid.out_column);
            if (bias && part + 1 == lists.parts) tile[i] += bias[o];
            store(pixel, tile[i]);
        }
        if (sums && part + 1 == lists.parts) note<R * C>(sums[o - first], tile, lanes);
    }
}

template <int R, int C, int COLUMN>
void correlate_tile(const Grid& grid, const Lists& lists, int64_t part, const float* in, const float* out, int64_t first,
                    int64_t last, Lanes* found) {
    const int64_t column = COLUMN ? COLUMN : grid.in_column, row = grid.in_row;
    for (int64_t o = first; o < last; ++o) {
        const int32_t begin = lists.cuts[o * lists.parts + part], end = lists.cuts[o * lists.parts + part + 1];
        if (begin == end) continue;
        Lanes* sums = found + (begin - lists.begin(first));
        const float* gradient = out + o * grid.out_channel;
        Part tile[R * C * PARTS];
#pragma GCC unroll 16
        for (int i = 0; i < R * C * PARTS; ++i) tile[i] = load(gradient + place<C>(i, grid.out_row, grid.out_column));
        for (int32_t e = begin; e < end; ++e, ++sums) {
            const float* from = in + lists.offsets[e];
            Part even[PARTS], odd[PARTS];
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part) even[part] = sums->parts[part], odd[part] = Part{};
#pragma GCC unroll 16
            for (int i = 0; i < R * C * PARTS; ++i)
                (i / PARTS % 2 ? odd : even)[i % PARTS] += load(from + place<C>(i, row, column)) * tile[i];
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part) sums->parts[part] = even[part] + odd[part];
        }
    }
}

template <int COLUMN, typename Call>
inline void by_shape(Shape shape, Call&& call) {
    switch (shape) {
        case WIDE: return call.template operator()<1, TILE, COLUMN>();
        case TWO_ROWS: return call.template operator()<2, TILE / 2, COLUMN>();
        case FOUR_ROWS: return call.template operator()<4, TILE / 4, COLUMN>();
        case HALF: return call.template operator()<1, columns_of(HALF), COLUMN>();
        case QUARTER: return call.template operator()<1, 4, COLUMN>();
        case PAIR: return call.template operator()<1, 2, COLUMN>();
        default: return call.template operator()<1, 1, COLUMN>();
    }
}

template <typename Call>
inline void dispatch(Shape shape, int64_t column, Call&& call) {
    if (column == LANES) return by_shape<LANES>(shape, call);
    if (column == 2 * LANES) return by_shape<2 * LANES>(shape, call);
    by_shape<0>(shape, call);
}

// How a call is cut into pieces of work: a function of the shapes alone.
struct Pieces {
    int64_t tiles, outs;  // pieces a block is cut into, along the tiles and along the output channels
    Pieces(int64_t blocks, int64_t num_tiles, int64_t num_outs) {
        tiles = std::clamp((UNITS + blocks - 1) / blocks, int64_t(1), num_tiles);
        outs = std::clamp((UNITS + blocks * tiles - 1) / (blocks * tiles), int64_t(1), num_outs);
    }
};

}  // namespace

std::vector<Tile> cut(int64_t height, int64_t width) {
    std::vector<Tile> tiles;
    auto fits = [&](Shape shape) { return width >= columns_of(shape) && height >= rows_of(shape); };
    const Shape whole = fits(WIDE) ? WIDE : fits(TWO_ROWS) ? TWO_ROWS : fits(FOUR_ROWS) ? FOUR_ROWS : ONE;
    int64_t y = 0;
    auto rest = [&](int64_t row, int64_t x) {
        for (Shape shape : {WIDE, HALF, QUARTER, PAIR, ONE})
            for (; x + columns_of(shape) <= width; x += columns_of(shape)) tiles.push_back({row, x, shape});
    };
    if (whole != ONE) {
        for (; y + rows_of(whole) <= height; y += rows_of(whole)) {
            int64_t x = 0;
            for (; x + columns_of(whole) <= width; x += columns_of(whole)) tiles.push_back({y, x, whole});
            for (int64_t row = y; row < y + rows_of(whole); ++row) rest(row, x);
        }
    }
    for (; y < height; ++y) rest(y, 0);
    return tiles;
}

void convolve_tiles(const Grid& grid, const Lists& lists, const float* bias, const float* in, float* out,
                    int64_t first, int64_t last, const Tile* tiles, int64_t count, Sums* sums, int64_t lanes) {
    for (int64_t t = 0; t < count; ++t) {
        const Tile tile = tiles[t];
        const float* from = in + tile.y * grid.in_row + tile.x * grid.in_column;
        float* to = out + tile.y * grid.out_row + tile.x * grid.out_column;
        dispatch(tile.shape, grid.in_column, [&]<int R, int C, int COLUMN>() {
            for (int64_t part = 0; part < lists.parts; ++part)
                convolve_tile<R, C, COLUMN>(grid, lists, part, bias, from, to, first, last, sums, lanes);
        });
    }
}

void correlate_tiles(const Grid& grid, const Lists& lists, const float* in, const float* out, int64_t first, int64_t last,
                     const Tile* tiles, int64_t count, float* found) {
    const int64_t entries = lists.begin(last) - lists.begin(first);
    std::vector<Lanes> sums(static_cast<size_t>(entries));
    for (int64_t t = 0; t < count; ++t) {
        const Tile tile = tiles[t];
        const float* from = in + tile.y * grid.in_row + tile.x * grid.in_column;
        const float* gradient = out + tile.y * grid.out_row + tile.x * grid.out_column;
        dispatch(tile.shape, grid.in_column, [&]<int R, int C, int COLUMN>() {
            for (int64_t part = 0; part < lists.parts; ++part)
                correlate_tile<R, C, COLUMN>(grid, lists, part, from, gradient, first, last, sums.data());
        });
    }
    for (int64_t e = 0; e < entries; ++e) found[e] = fold_lanes(sums[size_t(e)]);
}

std::vector<int64_t> groups_of(const Lists& lists, int64_t most) {
    std::vector<int64_t> groups{0};
    for (int64_t o = 0; o < lists.outs; ++o)
        if (o + 1 == lists.outs || lists.begin(o + 2) - lists.begin(groups.back()) > most) groups.push_back(o + 1);
    return groups;
}

Moments moments_of(const Sums& sums, int64_t lanes) {
    const double count = double(sums.pixels * lanes), sum = sum_lanes(sums.sum, lanes);
    const double squares = sum_lanes(sums.squares, lanes);
    return {count, sums.centre + sum / count, std::max(0.0, squares - sum * sum / count)};
}

extern "C" {

// values[i] = weights[index[i]]
void td_gather(const float* weights, const int64_t* index, int64_t count, float* values) {
    for (int64_t i = 0; i < count; ++i) values[i] = weights[index[i]];
}

// out = bias + sum over the list of value * in
void td_convolve(const Grid* grid, const Lists* lists, const float* bias, int64_t threads) {
    const std::vector<Tile> tiles = cut(grid->height, grid->width);
    const int64_t outs = lists->outs;
    const Pieces pieces(grid->blocks, int64_t(tiles.size()), outs);
    parallel(grid->blocks * pieces.tiles * pieces.outs, threads, [&](int64_t unit) {
        const int64_t part = unit % pieces.outs, chunk = unit / pieces.outs % pieces.tiles;
        const int64_t block = unit / pieces.outs / pieces.tiles;
        const int64_t first = part * outs / pieces.outs, last = (part + 1) * outs / pieces.outs;
        const int64_t begin = chunk * int64_t(tiles.size()) / pieces.tiles;
        const int64_t end = (chunk + 1) * int64_t(tiles.size()) / pieces.tiles;
        convolve_tiles(*grid, *lists, bias, grid->in + block * grid->in_block, grid->out + block * grid->out_block, first,
                       last, tiles.data() + begin, end - begin, nullptr, LANES);
    });
}

// gradient[index[e]] = sum over blocks and pixels of out's gradient * in, for each entry e. `partial`: blocks * entries.
void td_correlate(const Grid* grid, const Lists* lists, const int64_t* index, float* partial, float* gradient,
                  int64_t threads) {
    const std::vector<Tile> tiles = cut(grid->height, grid->width);
    const int64_t entries = lists->entries();
    const std::vector<int64_t> groups =
        groups_of(*lists, std::min(ENTRIES, std::max(FEWEST, entries * grid->blocks / UNITS)));
    const int64_t parts = int64_t(groups.size()) - 1;
    parallel(grid->blocks * parts, threads, [&](int64_t unit) {
        const int64_t block = unit / parts, first = groups[size_t(unit % parts)], last = groups[size_t(unit % parts) + 1];
        correlate_tiles(*grid, *lists, grid->in + block * grid->in_block, grid->out + block * grid->out_block, first, last,
                        tiles.data(), int64_t(tiles.size()), partial + block * entries + lists->begin(first));
    });
    for (int64_t e = 0; e < entries; ++e) {
        double sum = 0;
        for (int64_t block = 0; block < grid->blocks; ++block) sum += partial[block * entries + e];
        gradient[index[e]] = float(sum);
    }
}

}  // extern "C"
