"""Pickles as plain data: an interpreter that imports nothing, calls nothing and believes no length.

    (dp0  S'id'  I7  s  .          {"id": 7}
    cos  system  (S'ls' tR.        Opaque("os.system", args=("ls",))

Built are None, bool, int, float, str, bytes, bytearray, list, tuple, dict, set and frozenset, of protocols
0 to 5; an Opaque stands where a class or a function would be needed.  The `str` of Python 2 becomes str by
latin-1, unless another encoding is asked for: ASCII stays what it is, and every byte can be seen.

What needs no class goes the short way (_quick.py), with the same result.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from asyncpq.serializers._literals import BYTE_STRINGS, LITERALS, decimal
from asyncpq.serializers._opcodes import FRAME, PROTO, STOP, WIDTH, after, frame
from asyncpq.serializers._outcomes import Damaged, Torn, refused
from asyncpq.serializers._quick import KEY_PARTS, PLAIN_MAKERS, quick_loads

__all__ = ["Opaque", "TooComplex", "plain_loads"]

SAME_HASH: Final = 1000  # different keys of one hash in one pickle: more take the square of their number


class TooComplex(Damaged):
    """It may be good; to tell would cost too much."""


@dataclass(slots=True, eq=False)
class Opaque:
    """Stands for what a pickle would have made by importing *name*; its parts are plain data.

    *items* holds what was appended or added to it, and pairs where something was set by key.
    """

    name: str
    args: Any = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"this stands for an object of {self.name}, which was not made: it cannot be stored")


def plain_loads(buffer: bytes, start: int, *, classes: bool = True, encoding: str = "latin-1") -> tuple[Any, int]:
    """The plain value of the pickle at *start*, and the offset behind it.

    Args:
        buffer: the bytes; nothing beyond them is believed.
        start: where the pickle begins.
        classes: whether Opaque may stand in for a class; else needing one is Damaged.
        encoding: of Python 2's byte strings, or "bytes", which leaves them bytes.

    Raises:
        Torn: the buffer ends before the pickle does.
        Damaged: this is no pickle of plain data.
    """
    if classes and (quick := quick_loads(buffer, start, encoding)):
        return quick
    try:
        return _Machine(classes, encoding).run(buffer, start)
    except IndexError:
        raise Damaged("a pickle takes more from its stack than there is") from None
    except KeyError as error:
        raise Damaged(f"a pickle reads {error} from its memo, where nothing was stored") from None
    except (TypeError, ArithmeticError, AttributeError) as error:
        raise refused(error) from error
    except ValueError as error:
        raise (error if isinstance(error, Damaged) else refused(error)) from None


class _Machine:
    """The stack, its marks (the stacks below them) and the memo."""

    __slots__ = ("below", "classes", "encoding", "hashes", "memo", "stack")

    def __init__(self, classes: bool, encoding: str) -> None:
        self.classes, self.encoding = classes, encoding
        self.hashes: Counter[tuple[int, int]] = Counter()  # by what holds the keys
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, buffer: bytes, start: int) -> tuple[Any, int]:
        """Follow the opcodes to STOP."""
        pos, frame_end = start, 0
        while pos < len(buffer):
            op = buffer[pos]
            if op == STOP:
                return self.stack[-1], max(pos + 1, frame_end)
            if not WIDTH[op]:
                raise Damaged(f"0x{op:02x} is no pickle opcode")
            end = pos + WIDTH[op] if WIDTH[op] > 0 else after(buffer, pos, op)
            if end > len(buffer):
                raise Torn
            if op in LITERALS:
                self.stack.append(LITERALS[op](buffer[pos + 1 : end]))
            elif op in BYTE_STRINGS:
                self.stack.append(self.text(BYTE_STRINGS[op](buffer[pos + 1 : end])))
            elif op == FRAME:
                frame_end = frame(buffer, pos)[1]
            elif op != PROTO:
                _ACTIONS[op](self, buffer[pos + 1 : end])
            pos = end
        raise Torn

    def text(self, data: bytes) -> str | bytes:
        """A `str` of Python 2."""
        return data if self.encoding == "bytes" else data.decode(self.encoding)

    def keys(self, holder: object, values: Iterable[Any]) -> Iterator[Any]:
        """*values*, which may be hashed: none of too many parts, nor too many with the same hash in *holder*."""
        for value in values:
            if isinstance(value, _CHOSEN):
                place = id(holder), hash(_of_few_parts(value))
                self.hashes[place] += 1
                if self.hashes[place] > SAME_HASH:
                    raise TooComplex("a pickle has too many keys of the same hash")
            yield value

    def to_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def opaque(self, name: str, args: Any = ()) -> None:
        """Push a stand-in."""
        if not self.classes:
            raise Damaged(f"a pickle needs {name}, which is not plain data")
        self.stack.append(Opaque(name, args))

    def made(self, maker: Any, args: Any) -> None:
        """Push what calling *maker* would give: plain data, where it is written so, else a stand-in."""
        if not isinstance(maker, Opaque):
            raise Damaged(f"a pickle calls a value of type {type(maker).__name__}")
        value = _remade(self, maker.name, args) if maker.name in PLAIN_MAKERS else None
        if value is None:
            self.opaque(*_instance(maker.name, args))
        else:
            self.stack.append(value)


# What is done with the values on the stack, by opcode; *arg* is what follows the opcode.


_CHOSEN: Final = (int, float, tuple, frozenset)  # whose hash is no secret: others have it where somebody wants it


def _of_few_parts(value: Any) -> Any:
    """*value*, which may be hashed: its parts are counted first, as often as hashing looks at them."""
    waiting, parts = [value], 0
    while waiting:
        part = waiting.pop()
        parts += 1
        if isinstance(part, tuple | frozenset):
            if parts + len(waiting) + len(part) > KEY_PARTS:
                raise TooComplex("a pickle has a key of too many parts")
            waiting.extend(part)
    return value


def _extend(m: _Machine, target: Any, values: list[Any]) -> None:
    """APPENDS and ADDITEMS."""
    if isinstance(target, set):
        target.update(m.keys(target, values))
    elif isinstance(target, Opaque):
        target.items.extend(values)
    elif isinstance(target, list | bytearray):
        target.extend(values)
    elif values:
        raise Damaged(f"a pickle appends to a value of type {type(target).__name__}")


def _set(m: _Machine, target: Any, flat: list[Any]) -> None:
    """SETITEMS: keys and values in turn."""
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    if isinstance(target, Opaque):
        target.items.extend(pairs)
    elif isinstance(target, dict):
        target.update(zip(m.keys(target, flat[::2]), flat[1::2], strict=True))
    elif isinstance(target, list | bytearray):
        _set_in_list(target, pairs)
    elif pairs:
        raise Damaged(f"a pickle sets items of a value of type {type(target).__name__}")


def _set_in_list(target: Any, pairs: list[tuple[Any, Any]]) -> None:
    """No pickler writes this, and every unpickler does it."""
    for index, value in pairs:
        try:
            target[index] = value
        except IndexError:
            raise Damaged("a pickle sets an item of a list that has not so many") from None


def _build(m: _Machine, arg: bytes) -> None:
    state, target = m.stack.pop(), m.stack[-1]
    if isinstance(target, Opaque):
        target.state = state
    elif state is not None and state != (None, {}):  # nothing, which every unpickler gives to any value
        raise Damaged(f"a pickle gives state to a value of type {type(target).__name__}")


def _pop(m: _Machine, arg: bytes) -> None:
    if m.stack or not m.below:
        m.stack.pop()
    else:
        m.to_mark()


def _mark(m: _Machine, arg: bytes) -> None:
    m.below.append(m.stack)
    m.stack = []


def _pop_mark(m: _Machine, arg: bytes) -> None:
    m.to_mark()


def _dup(m: _Machine, arg: bytes) -> None:
    m.stack.append(m.stack[-1])


def _append(m: _Machine, arg: bytes) -> None:
    value = m.stack.pop()
    _extend(m, m.stack[-1], [value])


def _extend_to_mark(m: _Machine, arg: bytes) -> None:
    values = m.to_mark()
    _extend(m, m.stack[-1], values)


def _set_item(m: _Machine, arg: bytes) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _set(m, m.stack[-1], [key, value])


def _set_items(m: _Machine, arg: bytes) -> None:
    flat = m.to_mark()
    _set(m, m.stack[-1], flat)


def _dict(m: _Machine, arg: bytes) -> None:
    flat = m.to_mark()
    m.stack.append({})
    _set(m, m.stack[-1], flat)


def _list(m: _Machine, arg: bytes) -> None:
    values = m.to_mark()
    m.stack.append(values)


def _tuple(m: _Machine, arg: bytes) -> None:
    values = m.to_mark()
    m.stack.append(tuple(values))


def _frozenset(m: _Machine, arg: bytes) -> None:
    values = m.to_mark()
    m.stack.append(frozenset(m.keys(values, values)))


def _tuple_of(size: int) -> Callable[[_Machine, bytes], None]:
    def act(m: _Machine, arg: bytes) -> None:
        values = [m.stack.pop() for _ in range(size)]
        m.stack.append(tuple(reversed(values)))

    return act


def _put(m: _Machine, arg: bytes) -> None:
    m.memo[int.from_bytes(arg, "little")] = m.stack[-1]


def _put_text(m: _Machine, arg: bytes) -> None:
    m.memo[decimal(arg)] = m.stack[-1]


def _memoize(m: _Machine, arg: bytes) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _get(m: _Machine, arg: bytes) -> None:
    m.stack.append(m.memo[int.from_bytes(arg, "little")])


def _get_text(m: _Machine, arg: bytes) -> None:
    m.stack.append(m.memo[decimal(arg)])


def _global(m: _Machine, arg: bytes) -> None:
    m.opaque(".".join(line.decode("utf-8") for line in arg[:-1].split(b"\n")))


def _stack_global(m: _Machine, arg: bytes) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Damaged("a pickle names a class by something else than text")
    m.opaque(f"{module}.{name}")


def _reduce(m: _Machine, arg: bytes) -> None:
    args, maker = m.stack.pop(), m.stack.pop()
    m.made(maker, args)


def _reduce_named(m: _Machine, arg: bytes) -> None:
    named, args, maker = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.made(maker, (args, named))


def _obj(m: _Machine, arg: bytes) -> None:
    maker, *args = m.to_mark()
    m.made(maker, tuple(args))


def _inst(m: _Machine, arg: bytes) -> None:
    args = tuple(m.to_mark())
    _global(m, arg)
    m.made(m.stack.pop(), args)


def _instance(name: str, args: Any) -> tuple[str, Any]:
    """The class of an instance that protocols 0 and 1 write as a call with the class for an argument."""
    match args:
        case (Opaque(name=kind), Opaque(), None) if name in _INSTANCES:
            return kind, ()
    return name, args


def _remade(m: _Machine, name: str, args: Any) -> Any:
    """What older protocols write as a call: bytes, bytearray and the sets; None if it is not written so."""
    kind = name.rpartition(".")[2]
    match args:
        case (str(text), "latin1" | "latin-1") if kind in ("encode", "bytearray"):
            data = text.encode("latin-1")
            return data if kind == "encode" else bytearray(data)
        case (bytes(data),) if kind == "bytearray":
            return bytearray(data)
        case () if kind in ("bytes", "bytearray"):
            return b"" if kind == "bytes" else bytearray()
        case (list(items),) if kind in ("set", "frozenset"):
            keys = m.keys(items, items)
            return set(keys) if kind == "set" else frozenset(keys)
    return None


_INSTANCES: Final = ("copy_reg._reconstructor", "copyreg._reconstructor")


def _persistent(m: _Machine, arg: bytes) -> None:
    m.opaque("a persistent id", (m.stack.pop(),))


def _persistent_text(m: _Machine, arg: bytes) -> None:
    m.opaque("a persistent id", (arg[:-1].decode("latin-1"),))


def _extension(m: _Machine, arg: bytes) -> None:
    code = int.from_bytes(arg, "little", signed=len(arg) == 4)
    if code <= 0:
        raise Damaged("a pickle names an extension that nobody can register")
    m.opaque(f"extension {code}")


def _buffer(m: _Machine, arg: bytes) -> None:
    m.opaque("a buffer kept elsewhere")


def _nothing(m: _Machine, arg: bytes) -> None:
    m.stack[-1]  # READONLY_BUFFER looks at it, too


_ACTIONS: Final[dict[int, Callable[[_Machine, bytes], None]]] = {
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): _dup,
    ord("a"): _append,
    ord("e"): _extend_to_mark,
    0x90: _extend_to_mark,
    ord("s"): _set_item,
    ord("u"): _set_items,
    ord("d"): _dict,
    ord("l"): _list,
    ord("t"): _tuple,
    0x91: _frozenset,
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    ord("p"): _put_text,
    ord("q"): _put,
    ord("r"): _put,
    0x94: _memoize,
    ord("g"): _get_text,
    ord("h"): _get,
    ord("j"): _get,
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,
    0x92: _reduce_named,
    ord("o"): _obj,
    ord("i"): _inst,
    ord("b"): _build,
    ord("P"): _persistent_text,
    ord("Q"): _persistent,
    0x82: _extension,
    0x83: _extension,
    0x84: _extension,
    0x97: _buffer,
    0x98: _nothing,
}
