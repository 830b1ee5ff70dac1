"""Matrix products, and the optimizers' updates, in registers: the same bits on every machine.

A *tile* is a few rows of a product, LANES or more columns wide, whose sums stay in registers
while k runs from first to last, each step one fused multiply-add. Neither the tile's shape nor
the width of a machine's registers touches the order of a sum, so both may be chosen for speed.
Matrices are flat, by rows; their rows are a multiple of LANES long, so that no tile has a
ragged end. A gradient is used for the update while it is in registers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from foldwise.numerics.lanes import INDEX, LANES, Value, after, load, spread, store

inner = njit(nogil=True, error_model="numpy")  # compiled into what calls it
TALLEST = 6  # rows of a tile: with two registers a row, these and their inputs fill AVX2's sixteen
UPDATED = 4  # rows of a tile of gradients
DEEP = 128  # k of a product that run at once: so many rows of weights fit the nearest cache
SGD, NESTEROV, RMSPROP, ADAM = range(4)
P, FIRST, SECOND = range(3)  # an optimizer's arrays: parameters, and what it keeps beside them


class Rule(NamedTuple):
    """Places of an optimizer's constants in its array."""

    lr: int = 0  # Adam: divided by 1 - beta1^t
    decay: int = 1  # added to the gradient, times the parameter
    shrink: int = 2  # multiplies the parameter
    beta1: int = 3
    beta2: int = 4
    rest1: int = 5  # 1 - beta1
    rest2: int = 6
    root: int = 7  # Adam: 1 / sqrt(1 - beta2^t)
    eps: int = 8


RULE = Rule()


# --- optimizers -------------------------------------------------------------------------------


class Place(NamedTuple):
    """LANES parameters and what belongs to them."""

    b: ir.IRBuilder
    pointers: Sequence[ir.Value]
    offset: ir.Value
    rule: ir.Value

    def read(self, array: int) -> Value:
        """LANES numbers of one of the arrays."""
        return load(self.b, self.pointers[array], self.offset)

    def write(self, array: int, value: Value) -> None:
        """The reverse."""
        store(self.b, value, self.pointers[array], self.offset)

    def constant(self, index: int) -> Value:
        """One of the optimizer's constants, in all lanes."""
        return spread(self.b, self.b.load(self.b.gep(self.rule, [INDEX(index)])))


def _sgd(at: Place, g: Value) -> None:
    p, beta = at.read(P), at.constant(RULE.beta1)
    velocity = at.read(FIRST).fma(beta, p.fma(at.constant(RULE.decay), g))
    at.write(FIRST, velocity)
    at.write(P, p - velocity * at.constant(RULE.lr))


def _nesterov(at: Place, g: Value) -> None:
    p, beta = at.read(P), at.constant(RULE.beta1)
    g = p.fma(at.constant(RULE.decay), g)
    velocity = at.read(FIRST).fma(beta, g)
    at.write(FIRST, velocity)
    at.write(P, p - velocity.fma(beta, g) * at.constant(RULE.lr))


def _rmsprop(at: Place, g: Value) -> None:
    p = at.read(P)
    g = p.fma(at.constant(RULE.decay), g)
    square = at.read(SECOND).fma(at.constant(RULE.beta2), at.constant(RULE.rest2) * g * g)
    scaled = g / (square.sqrt() + at.constant(RULE.eps))
    velocity = at.read(FIRST).fma(at.constant(RULE.beta1), scaled)
    at.write(SECOND, square)
    at.write(FIRST, velocity)
    at.write(P, p - velocity * at.constant(RULE.lr))


def _adam(at: Place, g: Value) -> None:
    p = at.read(P) * at.constant(RULE.shrink)
    g = p.fma(at.constant(RULE.decay), g)
    first = at.read(FIRST)
    mean = (g - first).fma(at.constant(RULE.rest1), first)
    square = at.read(SECOND).fma(at.constant(RULE.beta2), at.constant(RULE.rest2) * g * g)
    spread_out = square.sqrt().fma(at.constant(RULE.root), at.constant(RULE.eps))
    at.write(FIRST, mean)
    at.write(SECOND, square)
    at.write(P, p - mean * at.constant(RULE.lr) / spread_out)


Formula = Callable[[Place, Value], None]
FORMULAS: tuple[Formula, ...] = (_sgd, _nesterov, _rmsprop, _adam)


# --- tiles ------------------------------------------------------------------------------------


def _sums(
    b: ir.IRBuilder, start: list[list[Value]], x: tuple[ir.Value, ...], w: tuple[ir.Value, ...]
) -> list[list[Value]]:
    """start[r][v] + sum over k of x[r, k] * w[k, LANES * v ...], k in order.

    Args:
        b: where the code goes.
        start: rows of LANES numbers each.
        x: pointer, numbers from row to row, numbers from k to k.
        w: pointer, numbers from k to k, how many k.
    """
    (x, x_row, x_k), (w, w_k, depth) = x, w
    sums = [[cgutils.alloca_once(b, value.number.type) for value in row] for row in start]
    for places, row in zip(sums, start, strict=True):
        for place, value in zip(places, row, strict=True):
            b.store(value.number, place)
    with cgutils.for_range(b, depth) as loop:
        line = b.mul(loop.index, w_k)
        weights = [load(b, w, b.add(line, INDEX(LANES * v))) for v in range(len(start[0]))]
        for r, places in enumerate(sums):
            place = b.add(b.mul(INDEX(r), x_row), b.mul(loop.index, x_k))
            value = spread(b, b.load(b.gep(x, [place])))
            for weight, total in zip(weights, places, strict=True):
                b.store(value.fma(weight, Value(b, b.load(total))).number, total)
    return [[Value(b, b.load(total)) for total in row] for row in sums]


def _product_tile(rows: int, vectors: int) -> Any:
    """c[r] = begin[r] + sum over k of x[r, k] * w[k] for a tile."""

    @intrinsic
    def tile(
        context: Any, x: Any, x_row: Any, w: Any, w_row: Any, begin: Any, begin_row: Any,
        c: Any, c_row: Any, depth: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            x, x_row, w, w_row, begin, begin_row, c, c_row, depth = arguments

            def place(row: ir.Value, r: int, v: int) -> ir.Value:
                return b.add(b.mul(INDEX(r), row), INDEX(LANES * v))

            start = [
                [load(b, begin, place(begin_row, r, v)) for v in range(vectors)]
                for r in range(rows)
            ]
            found = _sums(b, start, (x, x_row, INDEX(1)), (w, w_row, depth))
            for r, row in enumerate(found):
                for v, value in enumerate(row):
                    store(b, value, c, place(c_row, r, v))
            return context.get_dummy_value()

        index = types.int64
        return types.void(x, index, w, index, begin, index, c, index, index), generate

    return tile


def _update_tile(formula: Formula, rows: int, vectors: int) -> Any:
    """An optimizer's step on a tile of weights by their gradients: sums over rows of x and d."""

    @intrinsic
    def tile(
        context: Any, x: Any, x_row: Any, d: Any, d_row: Any, depth: Any,
        p: Any, first: Any, second: Any, p_row: Any, rule: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            x, x_row, d, d_row, depth, *pointers, p_row, rule = arguments
            zero = Value(b, ir.Constant(ir.VectorType(d.type.pointee, LANES), [0.0] * LANES))
            start = [[zero] * vectors for _ in range(rows)]
            found = _sums(b, start, (x, INDEX(1), x_row), (d, d_row, depth))
            for r, row in enumerate(found):
                for v, value in enumerate(row):
                    offset = b.add(b.mul(INDEX(r), p_row), INDEX(LANES * v))
                    formula(Place(b, pointers, offset, rule), value)
            return context.get_dummy_value()

        index = types.int64
        arguments = x, index, d, index, index, p, first, second, index, rule
        return types.void(*arguments), generate

    return tile


def _vector_update(formula: Formula) -> Any:
    """An optimizer's step on LANES parameters by their gradients."""

    @intrinsic
    def change(context: Any, g: Any, p: Any, first: Any, second: Any, rule: Any) -> Any:
        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            g, *pointers, rule = arguments
            formula(Place(b, pointers, INDEX(0), rule), load(b, g, INDEX(0)))
            return context.get_dummy_value()

        return types.void(g, p, first, second, rule), generate

    return change


@intrinsic
def broad(context: Any) -> Any:
    """Whether the code is for a machine with 32 registers of LANES numbers (AVX-512)."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        features = context.codegen().magic_tuple()[2]
        return ir.IntType(1)(int("+avx512f" in features.split(",")))

    return types.boolean(), generate


tile1, tile2, tile3, tile4, tile5, tile6 = (_product_tile(r + 1, 1) for r in range(TALLEST))
pair1, pair2, pair3, pair4, pair5, pair6 = (_product_tile(r + 1, 2) for r in range(TALLEST))
sgd_tile, nesterov_tile, rmsprop_tile, adam_tile = (_update_tile(f, UPDATED, 1) for f in FORMULAS)
sgd_pair, nesterov_pair, rmsprop_pair, adam_pair = (_update_tile(f, UPDATED, 2) for f in FORMULAS)
sgd, nesterov, rmsprop, adam = (_vector_update(f) for f in FORMULAS)


# --- whole matrices ---------------------------------------------------------------------------


@inner
def product(x, x_row, w, w_row, begin, begin_row, c, c_row, rows, columns, depth):  # fmt: skip
    """c (rows, columns) = begin + x (rows, depth) @ w (depth, columns), the sums in order of k.

    Columns are a multiple of LANES; `_row` is the distance of rows, 0 for one row that all share.
    """
    for k in range(0, depth, DEEP):
        deep = min(DEEP, depth - k)
        if k:
            begin, begin_row = c, c_row
        j = 0
        while j < columns:
            wide = 2 * LANES if broad() and j + 2 * LANES <= columns else LANES
            i, blocks = 0, -(-rows // TALLEST)
            while i < rows:
                tall = -(-(rows - i) // blocks)
                _tile(
                    tall, wide, after(x, i * x_row + k), x_row, after(w, k * w_row + j), w_row,
                    after(begin, i * begin_row + j), begin_row, after(c, i * c_row + j), c_row,
                    deep,
                )  # fmt: skip
                i += tall
                blocks -= 1
            j += wide


@inner
def _tile(rows, wide, x, x_row, w, w_row, begin, begin_row, c, c_row, depth):
    """The tile of that many rows."""
    if broad() and wide > LANES:
        if rows == 6:
            pair6(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
        elif rows == 5:
            pair5(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
        elif rows == 4:
            pair4(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
        elif rows == 3:
            pair3(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
        elif rows == 2:
            pair2(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
        else:
            pair1(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    elif rows == 6:
        tile6(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    elif rows == 5:
        tile5(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    elif rows == 4:
        tile4(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    elif rows == 3:
        tile3(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    elif rows == 2:
        tile2(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)
    else:
        tile1(x, x_row, w, w_row, begin, begin_row, c, c_row, depth)


@inner
def update_weights(x, x_row, d, d_row, depth, p, first, second, rows, columns, rule, optimizer):
    """Update p (rows, columns) by the gradient xᵀ d; x (depth, rows), d (depth, columns).

    Rows are taken UPDATED at a time: x has zeros where it has no more of them.
    """
    for i in range(0, rows, UPDATED):
        j = 0
        while j < columns:
            wide = 2 * LANES if broad() and j + 2 * LANES <= columns else LANES
            at = i * columns + j
            _update_tiles(
                after(x, i), x_row, after(d, j), d_row, depth, after(p, at), after(first, at),
                after(second, at), columns, rule, optimizer, wide,
            )  # fmt: skip
            j += wide


@inner
def _update_tiles(x, x_row, d, d_row, depth, p, first, second, p_row, rule, optimizer, wide):
    """The tile of that optimizer."""
    if broad() and wide > LANES:
        if optimizer == SGD:
            sgd_pair(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
        elif optimizer == NESTEROV:
            nesterov_pair(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
        elif optimizer == RMSPROP:
            rmsprop_pair(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
        else:
            adam_pair(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
    elif optimizer == SGD:
        sgd_tile(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
    elif optimizer == NESTEROV:
        nesterov_tile(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
    elif optimizer == RMSPROP:
        rmsprop_tile(x, x_row, d, d_row, depth, p, first, second, p_row, rule)
    else:
        adam_tile(x, x_row, d, d_row, depth, p, first, second, p_row, rule)


@inner
def update(gradient, p, first, second, size, rule, optimizer):
    """Update parameters p by their gradient; size is a multiple of LANES."""
    for i in range(0, size, LANES):
        g, q, m, v = after(gradient, i), after(p, i), after(first, i), after(second, i)
        if optimizer == SGD:
            sgd(g, q, m, v, rule)
        elif optimizer == NESTEROV:
            nesterov(g, q, m, v, rule)
        elif optimizer == RMSPROP:
            rmsprop(g, q, m, v, rule)
        else:
            adam(g, q, m, v, rule)


@inner
def transpose(w, rows, columns, t, t_row):
    """t (columns, rows) = wᵀ."""
    for i in range(rows):
        for j in range(columns):
            t[j * t_row + i] = w[i * columns + j]
