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
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from foldwise.numerics.lanes import INDEX, LANES, Value, after, inner, load, spread, store

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


def _one_of(
    b: ir.IRBuilder, choice: ir.Value, cases: Sequence[int], write: Callable[[int], None]
) -> None:
    """The code that `write` writes for the case that is chosen."""
    for case in cases:
        with b.if_then(b.icmp_signed("==", choice, INDEX(case))):
            write(case)


def _vectors(context: Any) -> list[int]:
    """How many vectors of LANES numbers a tile may be wide.

    Two where the machine has 32 registers of LANES numbers (AVX-512).
    """
    features = context.codegen().magic_tuple()[2].split(",")
    return [1, 2] if "+avx512f" in features else [1]


@intrinsic
def widest(context: Any) -> Any:
    """The columns of the widest tile."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return INDEX(LANES * _vectors(context)[-1])

    return types.int64(), generate


@intrinsic
def product_tile(
    context: Any, rows: Any, columns: Any, x: Any, x_row: Any, w: Any, w_row: Any,
    begin: Any, begin_row: Any, c: Any, c_row: Any, depth: Any,
) -> Any:  # fmt: skip
    """Compute c = begin + x @ w, a tile of 1 to TALLEST rows and LANES or `widest` columns."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        rows, columns, x, x_row, w, w_row, begin, begin_row, c, c_row, depth = arguments

        def tile(height: int, vectors: int) -> None:
            def place(row: ir.Value, r: int, v: int) -> ir.Value:
                return b.add(b.mul(INDEX(r), row), INDEX(LANES * v))

            every = [[(r, v) for v in range(vectors)] for r in range(height)]
            start = [[load(b, begin, place(begin_row, *at)) for at in row] for row in every]
            found = _sums(b, start, (x, x_row, INDEX(1)), (w, w_row, depth))
            for row, values in zip(every, found, strict=True):
                for at, value in zip(row, values, strict=True):
                    store(b, value, c, place(c_row, *at))

        def tiles(vectors: int) -> None:
            _one_of(b, rows, range(1, TALLEST + 1), lambda height: tile(height, vectors))

        _one_of(b, b.sdiv(columns, INDEX(LANES)), _vectors(context), tiles)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, x, i, w, i, begin, i, c, i, i), generate


@intrinsic
def update_tile(
    context: Any, optimizer: Any, columns: Any, x: Any, x_row: Any, d: Any, d_row: Any,
    depth: Any, p: Any, first: Any, second: Any, p_row: Any, rule: Any,
) -> Any:  # fmt: skip
    """An optimizer's step on UPDATED rows of weights, by the gradients xᵀ d."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        optimizer, columns, x, x_row, d, d_row, depth, *pointers, p_row, rule = arguments
        zero = Value(b, ir.Constant(ir.VectorType(d.type.pointee, LANES), [0.0] * LANES))

        def tile(formula: int, vectors: int) -> None:
            start = [[zero] * vectors for _ in range(UPDATED)]
            found = _sums(b, start, (x, INDEX(1), x_row), (d, d_row, depth))
            for r, row in enumerate(found):
                for v, value in enumerate(row):
                    offset = b.add(b.mul(INDEX(r), p_row), INDEX(LANES * v))
                    FORMULAS[formula](Place(b, pointers, offset, rule), value)

        def tiles(vectors: int) -> None:
            _one_of(b, optimizer, range(len(FORMULAS)), lambda formula: tile(formula, vectors))

        _one_of(b, b.sdiv(columns, INDEX(LANES)), _vectors(context), tiles)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, x, i, d, i, i, p, first, second, i, rule), generate


@intrinsic
def update_lanes(
    context: Any, optimizer: Any, g: Any, p: Any, first: Any, second: Any, rule: Any
) -> Any:
    """An optimizer's step on LANES parameters by their gradients."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        optimizer, g, *pointers, rule = arguments

        def change(formula: int) -> None:
            FORMULAS[formula](Place(b, pointers, INDEX(0), rule), load(b, g, INDEX(0)))

        _one_of(b, optimizer, range(len(FORMULAS)), change)
        return context.get_dummy_value()

    return types.void(types.int64, g, p, first, second, rule), generate


# --- whole matrices ---------------------------------------------------------------------------


@inner
def product(x, x_row, w, w_row, begin, begin_row, c, c_row, rows, columns, depth):
    """Compute c (rows, columns) = begin + x (rows, depth) @ w (depth, columns).

    Sums run in order of k. Columns are a multiple of LANES; `_row` is the distance of rows, 0 for
    one row that all share.
    """
    for k in range(0, depth, DEEP):
        deep = min(DEEP, depth - k)
        if k:
            begin, begin_row = c, c_row
        j = 0
        while j < columns:
            wide = _width(columns - j)
            i, blocks = 0, -(-rows // TALLEST)
            while i < rows:
                tall = -(-(rows - i) // blocks)
                product_tile(
                    tall, wide, after(x, i * x_row + k), x_row, after(w, k * w_row + j), w_row,
                    after(begin, i * begin_row + j), begin_row, after(c, i * c_row + j), c_row,
                    deep,
                )  # fmt: skip
                i += tall
                blocks -= 1
            j += wide


@inner
def update_weights(x, x_row, d, d_row, depth, p, first, second, rows, columns, rule, optimizer):
    """Update p (rows, columns) by the gradient xᵀ d; x (depth, rows), d (depth, columns).

    Rows are taken UPDATED at a time: x has zeros where it has no more of them.
    """
    for i in range(0, rows, UPDATED):
        j = 0
        while j < columns:
            wide, at = _width(columns - j), i * columns + j
            update_tile(
                optimizer, wide, after(x, i), x_row, after(d, j), d_row, depth,
                after(p, at), after(first, at), after(second, at), columns, rule,
            )  # fmt: skip
            j += wide


@inner
def _width(columns):
    """Of the next tile, where so many columns are left."""
    return widest() if columns >= widest() else LANES


@inner
def update(gradient, p, first, second, size, rule, optimizer):
    """Update parameters p by their gradient; size is a multiple of LANES."""
    for i in range(0, size, LANES):
        update_lanes(
            optimizer, after(gradient, i), after(p, i), after(first, i), after(second, i), rule
        )


@inner
def transpose(w, rows, columns, t, t_row):
    """Transpose w: t (columns, rows) = wᵀ."""
    for i in range(rows):
        for j in range(columns):
            t[j * t_row + i] = w[i * columns + j]
