"""Rows of a few numbers, each one vector of the processor.

The compiler turns long loops into vector instructions. Those over some eight radial
functions it leaves nearly scalar, and most of the time they take is that of setting
them up. Here such a row is one value: `load`, `store`, `filled`, `total`, and the
operators + - * of two rows, or of a row and a number. Nothing is reordered or fused.

How long rows are is known where they are compiled. A ``size`` is a tuple, of anything:
its length is part of its type. Places count single numbers of a contiguous array of any
shape. As in all compiled functions here, nobody checks that they lie inside of it.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

_DOUBLE, _INDEX = ir.DoubleType(), ir.IntType(32)


class Row(types.Type):
    """The type of rows of n double-precision numbers."""

    def __init__(self, n):
        self.n = n
        super().__init__(name=f"Row({n})")


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row):
        super().__init__(manager, row, ir.VectorType(_DOUBLE, row.n))


def size_of(n):
    """Return the size of rows of n numbers."""
    return (0,) * n


def _pointer(context, builder, array_type, array, at, n):
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(_DOUBLE, n)
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


@intrinsic
def load(typing_context, array, at, size):
    """Return the numbers of an array from a place on."""
    if array.layout != "C":
        return None

    def code(context, builder, signature, arguments):
        array_type, _, _ = signature.args
        data, place, _ = arguments
        pointer = _pointer(context, builder, array_type, data, place, len(size))
        return builder.load(pointer, align=8)

    return Row(len(size))(array, types.intp, size), code


@intrinsic
def store(typing_context, array, at, row):
    """Write a row to an array from a place on."""
    if array.layout != "C":
        return None

    def code(context, builder, signature, arguments):
        array_type, _, _ = signature.args
        data, place, value = arguments
        pointer = _pointer(context, builder, array_type, data, place, row.n)
        builder.store(value, pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, row), code


def _spread(builder, number, n):
    one = ir.Constant(ir.VectorType(_DOUBLE, n), ir.Undefined)
    first = builder.insert_element(one, number, _INDEX(0))
    everywhere = ir.Constant(ir.VectorType(_INDEX, n), [0] * n)
    return builder.shuffle_vector(first, one, everywhere)


@intrinsic
def filled(typing_context, number, size):
    """Return a row of one number."""

    def code(context, builder, signature, arguments):
        return _spread(builder, arguments[0], len(size))

    return Row(len(size))(types.float64, size), code


@intrinsic
def total(typing_context, row):
    """Return the sum of a row: halves are added until one number is left."""

    def code(context, builder, signature, arguments):
        parts = [builder.extract_element(arguments[0], _INDEX(k)) for k in range(row.n)]
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            pairs = zip(parts, parts[half:], strict=False)
            middle = parts[half - 1 : half] if len(parts) % 2 else []
            parts = [builder.fadd(a, b) for a, b in pairs] + middle
        return parts[0]

    return types.float64(row), code


def _operation(name):
    @intrinsic
    def of_rows(typing_context, a, b):
        row = a if isinstance(a, Row) else b
        kinds = [x if isinstance(x, Row) else types.float64 for x in (a, b)]

        def code(context, builder, signature, arguments):
            x, y = (
                value if isinstance(kind, Row) else _spread(builder, value, row.n)
                for value, kind in zip(arguments, signature.args, strict=True)
            )
            return getattr(builder, name)(x, y)

        return row(*kinds), code

    def implementation(a, b):
        if isinstance(a, Row) or isinstance(b, Row):
            return lambda a, b: of_rows(a, b)
        return None

    return implementation


for _name, _operators in {
    "fadd": (operator.add, operator.iadd),
    "fsub": (operator.sub, operator.isub),
    "fmul": (operator.mul, operator.imul),
}.items():
    for _one in _operators:
        overload(_one)(_operation(_name))
