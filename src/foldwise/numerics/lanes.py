"""Arithmetic of compiled code whose bits are the same on every machine.

Formulas are written in Python on `Value`, which stands for a number of compiled code, or for
LANES numbers side by side. Each operator becomes one LLVM instruction without fast-math flags:
it rounds as IEEE 754 says, and LLVM may neither reorder sums nor join a product with a sum. Where
the two are to be joined, `fma` says so. Lanes never meet, so it does not matter how many of them
a machine's registers hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

LANES = 16  # numbers side by side: one AVX-512 register of float32, two of AVX2
INDEX = ir.IntType(64)
FLOATS = {32: ir.FloatType(), 64: ir.DoubleType()}  # by their size in bits
inner = njit(  # compiled into what calls it
    nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@dataclass(frozen=True)
class Value:
    """A number of compiled code, or LANES of them (or their bits, as integers)."""

    b: ir.IRBuilder
    number: ir.Value

    def __add__(self, other: "Value | float") -> "Value":
        return Value(self.b, self.b.fadd(self.number, self._same(other)))

    def __sub__(self, other: "Value | float") -> "Value":
        return Value(self.b, self.b.fsub(self.number, self._same(other)))

    def __mul__(self, other: "Value | float") -> "Value":
        return Value(self.b, self.b.fmul(self.number, self._same(other)))

    def __truediv__(self, other: "Value | float") -> "Value":
        return Value(self.b, self.b.fdiv(self.number, self._same(other)))

    def __lt__(self, other: "Value | float") -> "Value":
        """False where one is NaN."""
        return Value(self.b, self.b.fcmp_ordered("<", self.number, self._same(other)))

    def fma(self, factor: "Value | float", term: "Value | float") -> "Value":
        """This number times factor, plus term, rounded once."""
        arguments = [self.number, self._same(factor), self._same(term)]
        return Value(self.b, call(self.b, "fma", arguments))

    def sqrt(self) -> "Value":
        """The square root, rounded as IEEE 754 says."""
        return Value(self.b, call(self.b, "sqrt", [self.number]))

    def like(self, number: float) -> "Value":
        """A constant of the same kind."""
        return Value(self.b, self._same(number))

    def where(self, yes: "Value | float", no: "Value | float") -> "Value":
        """`yes` where this comparison holds, otherwise `no`; one of both is a Value."""
        of = yes if isinstance(yes, Value) else no
        assert isinstance(of, Value)
        return Value(self.b, self.b.select(self.number, of._same(yes), of._same(no)))

    def bits(self) -> "Value":
        """The same bits as a whole number of the same size."""
        return self._cast(self.b.bitcast, ir.IntType(_size(self.number.type)))

    def shifted(self, places: int) -> "Value":
        """Bits to the left, or to the right with the sign kept."""
        amount = self._whole(abs(places))
        shift = self.b.shl if places > 0 else self.b.ashr
        return Value(self.b, shift(self.number, amount))

    def plus(self, other: "Value | int") -> "Value":
        """Sum of whole numbers."""
        return Value(self.b, self.b.add(self.number, self._whole(other)))

    def minus(self, other: "Value | int") -> "Value":
        """Difference of whole numbers."""
        return Value(self.b, self.b.sub(self.number, self._whole(other)))

    def as_float(self) -> "Value":
        """The floating-point number that has these bits."""
        return self._cast(self.b.bitcast, FLOATS[_size(self.number.type)])

    def to_float(self) -> "Value":
        """This whole number as a floating-point number of the same size."""
        return self._cast(self.b.sitofp, FLOATS[_size(self.number.type)])

    def _cast(self, cast: Callable[[ir.Value, ir.Type], ir.Value], to: ir.Type) -> "Value":
        kind = self.number.type
        whole = ir.VectorType(to, kind.count) if isinstance(kind, ir.VectorType) else to
        return Value(self.b, cast(self.number, whole))

    def _same(self, other: "Value | float") -> ir.Value:
        if isinstance(other, Value):
            return other.number
        kind = self.number.type
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [other] * kind.count)
        return ir.Constant(kind, other)

    def _whole(self, other: "Value | int") -> ir.Value:
        if isinstance(other, Value):
            return other.number
        kind = self.number.type
        return kind([other] * kind.count if isinstance(kind, ir.VectorType) else other)


def _size(kind: ir.Type) -> int:
    """Bits of a number, or of each of several."""
    if isinstance(kind, ir.VectorType):
        kind = kind.element
    return kind.width if isinstance(kind, ir.IntType) else {"float": 32, "double": 64}[str(kind)]


def call(b: ir.IRBuilder, name: str, arguments: list[ir.Value]) -> ir.Value:
    """LLVM's own function of that name for the arguments' type."""
    kind = arguments[0].type
    vector = isinstance(kind, ir.VectorType)
    size = _size(kind.element if vector else kind)
    full = f"llvm.{name}.{f'v{kind.count}' if vector else ''}f{size}"
    form = ir.FunctionType(kind, [kind] * len(arguments))
    return b.call(cgutils.get_or_insert_function(b.module, form, full), arguments)


# --- memory -----------------------------------------------------------------------------------


def load(b: ir.IRBuilder, pointer: ir.Value, offset: ir.Value) -> Value:
    """LANES numbers from `offset` numbers after `pointer`."""
    source = b.gep(pointer, [offset])
    kind = ir.VectorType(source.type.pointee, LANES)
    loaded = b.load(b.bitcast(source, kind.as_pointer()))
    loaded.align = _size(source.type.pointee) // 8
    return Value(b, loaded)


def store(b: ir.IRBuilder, value: Value, pointer: ir.Value, offset: ir.Value) -> None:
    """The reverse of `load`."""
    target = b.gep(pointer, [offset])
    place = b.bitcast(target, value.number.type.as_pointer())
    b.store(value.number, place).align = _size(target.type.pointee) // 8


def spread(b: ir.IRBuilder, number: ir.Value) -> Value:
    """One number in all LANES."""
    kind, int32 = ir.VectorType(number.type, LANES), ir.IntType(32)
    nothing = ir.Constant(kind, ir.Undefined)
    one = b.insert_element(nothing, number, int32(0))
    first = ir.Constant(ir.VectorType(int32, LANES), [0] * LANES)
    return Value(b, b.shuffle_vector(one, nothing, first))


@intrinsic
def after(context: Any, pointer: Any, offset: Any) -> Any:
    """The pointer `offset` numbers further on."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return b.gep(arguments[0], [context.cast(b, arguments[1], signature.args[1], types.int64)])

    return pointer(pointer, offset), generate


@intrinsic
def start(context: Any, array: Any) -> Any:
    """A pointer to the first number of an array, rows first, which must outlive it."""
    if array.layout != "C":
        raise TypingError(f"{array} does not lie row after row without gaps")

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return context.make_array(signature.args[0])(context, b, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def fma(context: Any, x: Any, factor: Any, term: Any) -> Any:
    """Of floats of one kind, x * factor + term, rounded once."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return call(b, "fma", list(arguments))

    return x(x, x, x), generate


@intrinsic
def as_kind(context: Any, pointer: Any, other: Any) -> Any:
    """The same place, read as numbers of the kind at which `other` points."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return b.bitcast(arguments[0], arguments[1].type)

    return other(pointer, other), generate


@intrinsic
def like(context: Any, pointer: Any, number: Any) -> Any:
    """A number as one of the kind that a pointer points at."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return context.cast(b, arguments[1], signature.args[1], pointer.dtype)

    return pointer.dtype(pointer, number), generate
