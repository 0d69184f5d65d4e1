"""How errors travel in the code of goroutines.

Numba's calling convention returns a status beside the result: 0, or the number of an exception. gopark keeps it and
adds:

* **The end status** (`abi.STATUS_ENDED`). The run of this goroutine has ended: every frame is left, its references are
  given back, and no handler, no `finally` and no later statement of the user runs. It is tested only in blocks that are
  cold anyway.
* **Frames.** Each frame that an error leaves stores the address of a constant {function, file, line} in its G: the
  first eight and the last eight. `go.run` makes a traceback of them. The good path pays nothing.
* **Release.** At each place where an error leaves a function, the references that may be held there are given back: a
  forward dataflow over the function's variables tells which. Numba leaks them. It also lets Numba's pruning of
  reference counts remove those of the good path, which needs a decrement on *every* path: array code gets several times
  faster. A shared exit block would hide that behind a phi, so each site has its own.
* **try, as in Python.** Numba's own handling has five faults; each cure is marked below with its number.

  C1  A function with a try block that is called again sees the exception it raised before: the slot is cleared at
      entry.
  C2  An error inside a try goes on to the end of its statement with a missing result: branch to the handler at once.
  C3  Numba counts at run time how deep in try blocks it is, and the count can be off after nested handlers: where the
      exception table of the code object knows that a block lies in no try, it is asked instead.
  C4  `raise` without argument and the re-raise behind `finally` are unsupported: every handler keeps its exception.
  C5  A caught exception with run-time arguments leaks them: it carries a destructor.

The static half lives in `GoCallConv`, which Numba asks for every call and every raise; the half that knows the function
in `UserLower`. A builder whose function is lowered by `UserLower` carries a reference to it; functions that Numba
compiles by itself for its own library have none, and behave as Numba has them.
"""

from __future__ import annotations

import dis

from gopark.compiler import abi, polls
from gopark.compiler.linetable import probe_stack
from gopark.compiler.lower import RecordingLower
from gopark.compiler.numba_api import (
    LABEL_SHIFT,
    callconv,
    cgutils,
    compute_cfg_from_blocks,
    contains_references,
    eh,
    extern,
    i8p,
    i32,
    i64,
    ir,
    lir,
    void,
)

ENDED = lir.Constant(i32, abi.STATUS_ENDED)
USER_EXCEPTION = callconv.RETCODE_USEREXC
PYTHON_EXCEPTION = callconv.RETCODE_EXC

# Names of the functions that record their own frames: compiled by UserLower, now or in an earlier process.
RECORDING: set[str] = set()

_EXCINFO = callconv.excinfo_t
_WITH_DESTRUCTOR = lir.LiteralStructType([_EXCINFO, i8p])
_DESTRUCTOR_FLAG = 1 << 30  # in the excinfo's count of run-time arguments
_COUNT = 4  # index of that count


def lowerer_of(b) -> UserLower | None:
    """The lowerer of the function that `b` builds, if it is one of ours."""
    low = getattr(b, "_gopark_lower", None)
    return low if low is not None and low.builder is b else None


class GoCallConv(callconv.CPUCallConv):
    """Numba's convention, with what the head of this file adds."""

    def call_function(self, builder, callee, resty, argtys, args, attrs=None):
        result = super().call_function(builder, callee, resty, argtys, args, attrs)
        builder._gopark_callee_records = not isinstance(callee, lir.Function) or callee.name in RECORDING
        return result

    def return_ended(self, b):
        """Leave this function with the end status."""
        self._leave(b, ENDED, fresh=False)

    def _leave(self, b, code, fresh):
        low = lowerer_of(b)
        if low is None:
            b.ret(code)
        else:
            low.leave(code, fresh)

    def _return_errcode_raw(self, builder, code):
        if code is USER_EXCEPTION or code is PYTHON_EXCEPTION:
            self._leave(builder, code, fresh=True)
        else:
            super()._return_errcode_raw(builder, code)

    def return_status_propagate(self, builder, status):
        low = lowerer_of(builder)
        if low is None:
            super().return_status_propagate(builder, status)
            return
        builder.store(status.excinfoptr, self._get_excinfo_argument(builder.function))
        fresh = not getattr(builder, "_gopark_callee_records", True)
        if not low.has_try or low.outside_try():  # C3
            low.leave(status.code, fresh)
            return
        ended = builder.icmp_signed("==", status.code, ENDED)
        target = getattr(builder, "_in_try_block", None)
        if target:  # C2
            with builder.if_then(ended):
                low.leave(ENDED, False)
            low.go_to_handler(target["target"])
            return
        outside = builder.not_(self.check_try_status(builder).in_try)
        with builder.if_then(builder.or_(outside, ended)):
            low.leave(status.code, fresh)

    def return_user_exc(self, builder, exc, exc_args=None, loc=None, func_name=None):
        low, target = lowerer_of(builder), getattr(builder, "_in_try_block", None)
        if low is None or not target:
            super().return_user_exc(builder, exc, exc_args, loc, func_name)
            return
        self.set_static_user_exc(builder, exc, exc_args=exc_args, loc=loc, func_name=func_name)
        low.go_to_handler(target["target"])  # C2

    # ---- C5: exceptions with run-time arguments

    def set_dynamic_user_exc(self, builder, exc, exc_args, nb_types, loc=None, func_name=None):
        super().set_dynamic_user_exc(builder, exc, exc_args, nb_types, loc=loc, func_name=func_name)
        if lowerer_of(builder) is None:
            return
        slot, nrt = self._get_excinfo_argument(builder.function), self.context.nrt
        made = builder.load(slot)
        size = _EXCINFO.get_abi_size(self.context.target_data) + 8
        larger = builder.bitcast(nrt.allocate(builder, lir.Constant(i64, size)), _WITH_DESTRUCTOR.as_pointer())
        info = builder.load(made)
        flagged = builder.or_(builder.extract_value(info, _COUNT), lir.Constant(i32, _DESTRUCTOR_FLAG))
        builder.store(builder.insert_value(info, flagged, _COUNT), cgutils.gep_inbounds(builder, larger, 0, 0))
        values = [(t, a.type) for t, a in zip(nb_types, exc_args, strict=True) if isinstance(a, lir.Value)]
        destructor = builder.bitcast(self._destructor(builder.module, values), i8p)
        builder.store(destructor, cgutils.gep_inbounds(builder, larger, 0, 1))
        nrt.free(builder, builder.bitcast(made, i8p))
        builder.store(builder.bitcast(larger, callconv.excinfo_ptr_t), slot)

    def _destructor(self, module, values):
        """A function that frees a caught exception with run-time arguments of these types."""
        name = "go.excdtor." + ",".join(str(t) for t, _ in values)
        if name in module.globals:
            return module.globals[name]
        f = lir.Function(module, lir.FunctionType(void, [i8p]), name)
        f.linkage = "internal"
        f.attributes.add("noinline")
        b, nrt = lir.IRBuilder(f.append_basic_block("entry")), self.context.nrt
        arguments = b.extract_value(b.load(b.bitcast(f.args[0], callconv.excinfo_ptr_t)), 2)
        struct = b.load(b.bitcast(arguments, lir.LiteralStructType([t for _, t in values]).as_pointer()))
        for i, (ty, _) in enumerate(values):
            nrt.decref(b, ty, b.extract_value(struct, i))
        nrt.free(b, arguments)
        nrt.free(b, f.args[0])
        b.ret_void()
        return f

    def free_caught(self, b, exception):
        """A caught exception is done with."""
        with b.if_then(cgutils.is_not_null(b, exception)):
            flagged = b.icmp_signed(
                ">=", b.extract_value(b.load(exception), _COUNT), lir.Constant(i32, _DESTRUCTOR_FLAG)
            )
            with b.if_then(flagged, likely=False):
                whole = b.bitcast(exception, _WITH_DESTRUCTOR.as_pointer())
                destructor = b.load(cgutils.gep_inbounds(b, whole, 0, 1))
                b.call(b.bitcast(destructor, lir.FunctionType(void, [i8p]).as_pointer()), [b.bitcast(exception, i8p)])


# ---- records


def _constant_string(module, text: str):
    name = "go.string." + text
    found = module.globals.get(name)
    if found is None:
        found = cgutils.global_constant(module, name, cgutils.make_bytearray(text.encode() + b"\0"))
        found.unnamed_addr = True
    return found.bitcast(i8p)


def frame_record(module, function: str, file: str, line: int, package: str):
    """The address (i64) of a constant {char *function, *file; int64 line; char *module of the function}."""
    name = f"go.frame.{function}.{file}.{line}"
    found = module.globals.get(name)
    if found is None:
        ty = lir.LiteralStructType([i8p, i8p, i64, i8p])
        found = lir.GlobalVariable(module, ty, name)
        found.global_constant, found.linkage, found.align = True, "internal", 8
        found.initializer = lir.Constant(
            ty,
            [
                _constant_string(module, function),
                _constant_string(module, file),
                lir.Constant(i64, line),
                _constant_string(module, package),
            ],
        )
    return found.ptrtoint(i64)


# ---- lowering of user code


class UserLower(RecordingLower):
    """Lowers the functions of goroutines."""

    print_hook = None  # set by types/print.py

    def info_symbol(self):
        return self.symbol_of(self.func_ir.func_id, self.fndesc.argtypes)

    symbol_of = None  # set by compiler/func.py: how user functions are named

    def init(self):
        super().init()
        self.has_try = any(
            isinstance(s, ir.Assign) and isinstance(s.value, ir.Global) and s.value.value is eh.mark_try_block
            for block in self.blocks.values()
            for s in block.body
        )
        self._counted, self._held_in, self._held_out = set(), {}, {}
        self._held: set[str] = set()
        self._handlers: dict[int, object] = {}
        self._dominators, self._table = {}, None
        if self.generator_info is None:
            self._find_references()
            self._find_handlers()
        self.polls = polls.Plan(self)

    def setup_function(self, fndesc):
        super().setup_function(fndesc)
        probe_stack(self.function)
        if self.generator_info is None:
            self.builder._gopark_lower = self
            RECORDING.add(fndesc.llvm_func_name)

    def pre_lower(self):
        excinfo = self.call_conv._get_excinfo_argument(self.builder.function)
        if self.has_try:  # C1
            self.builder.store(lir.Constant(excinfo.type.pointee, None), excinfo)
        for label in self._handlers:
            self._handlers[label] = cgutils.alloca_once_value(
                self.builder, lir.Constant(callconv.excinfo_ptr_t, None), name="go.caught"
            )
        super().pre_lower()
        if self.generator_info is None:
            self.polls.at_entry()

    def post_lower(self):
        if self.generator_info is None:
            self.polls.at_end()
        super().post_lower()

    # ---- which references may be held where

    def _find_references(self):
        names = {s.target.name for block in self.blocks.values() for s in block.body if isinstance(s, ir.Assign)}
        self._counted = {n for n in names if contains_references(self.typeof(n))}
        # They need a slot each, or a site of an error could not tell whether one is set. LLVM dissolves the slots.
        self._singly_assigned_vars -= self._counted
        if not self._counted:
            return
        sets, ends = {}, {}
        for label, block in self.blocks.items():
            set_, ended = set(), set()
            for s in block.body:
                if isinstance(s, ir.Assign) and s.target.name in self._counted:
                    set_.add(s.target.name)
                elif isinstance(s, ir.Del):
                    set_.discard(s.value)
                    ended.add(s.value)
            sets[label], ends[label] = set_, ended
            self._held_in[label], self._held_out[label] = set(), set(set_)
        todo = list(self.blocks)
        while todo:
            label = todo.pop()
            out = sets[label] | (self._held_in[label] - ends[label])
            self._held_out[label] = out
            for successor in self.blocks[label].terminator.get_targets():
                if not out <= self._held_in[successor]:
                    self._held_in[successor] |= out
                    todo.append(successor)

    def lower_block(self, block):
        label = next(k for k, candidate in self.blocks.items() if candidate is block)
        self._held = set(self._held_in.get(label, ()))
        super().lower_block(block)

    def lower_inst(self, inst):
        if isinstance(inst, ir.Return):
            self._free_handler_slots()
        elif isinstance(inst, (ir.Jump, ir.Branch)):
            self.polls.before_jump(self._label)
        super().lower_inst(inst)
        if isinstance(inst, ir.Del):
            self._held.discard(inst.value)
        elif isinstance(inst, ir.Assign) and inst.target.name in self._counted:
            self._held.add(inst.target.name)

    # ---- leaving

    def leave(self, code, fresh):
        """Return with an error status. fresh: the error begins here (or in a callee that records nothing)."""
        b = self.builder
        self._free_handler_slots()
        self.polls.on_leave()
        if code is not ENDED:
            self._record_frame(code, fresh)
        if isinstance(self.loc, ir.Loc):  # else before the first statement: nothing is held
            for name in sorted(self._held):
                self._alloca_var(name, self.typeof(name))
                self.decref(self.typeof(name), b.load(self.varmap[name]))
        b.ret(code)

    def frame(self):
        """The record of the line that is being lowered."""
        file, line = self._where()
        identity = self.func_ir.func_id
        return frame_record(self.module, identity.func_qualname, file, line, identity.modname)

    def _record_frame(self, code, fresh):
        b = self.builder
        exception = b.ptrtoint(b.load(self.call_conv._get_excinfo_argument(b.function)), i64)
        record = extern(b.module, "go.traceframe", i8p, [i64, i64, i64])
        arguments = [self.frame(), exception, lir.Constant(i64, int(fresh))]
        if isinstance(code, lir.Constant):
            b.call(record, arguments)
        else:
            with b.if_then(b.icmp_signed("!=", code, ENDED)):
                b.call(record, arguments)

    def go_to_handler(self, target):
        """Leave a statement for the handler of its own try block; the dels behind it will not be executed."""
        self.polls.on_leave()
        for name in sorted(self._held - self._held_out.get(self._label, set())):
            slot = self.varmap.get(name)
            if slot is not None:
                self.decref(self.typeof(name), self.builder.load(slot))
                self.builder.store(lir.Constant(slot.type.pointee, None), slot)
        self.builder.branch(target)

    def outside_try(self) -> bool:
        """Whether no try block covers the current block; False where the code object does not tell (inlined IR)."""
        try:
            return self._destination(self._label) is None
        except KeyError:
            return False

    def _destination(self, label: int) -> int | None:
        """The block where an error of the block goes, by the code object's exception table; None: out of the
        function. Raises KeyError where the code object does not tell."""
        if self._table is None:
            code = self.func_ir.func_id.code
            self._table = dis._parse_exception_table(code)
            self._offsets = {i.offset for i in dis.get_instructions(code, show_caches=True)}
        offset = label - LABEL_SHIFT
        if offset not in self._offsets:
            raise KeyError(label)
        return next((e.target + LABEL_SHIFT for e in self._table if e.start <= offset < e.end), None)

    # ---- C4: handlers keep their exception, for `raise` and the end of `finally`

    def _find_handlers(self):
        if not self.has_try:
            return
        for block in self.blocks.values():
            end = block.terminator
            if isinstance(end, ir.Jump) and any(
                isinstance(s, ir.StaticTryRaise) and s.exc_class is None for s in block.body
            ):
                self._handlers.setdefault(end.target, None)
            if isinstance(end, ir.Branch) and end.cond.name.startswith("$exception_check"):
                self._handlers.setdefault(end.truebr, None)
        if self._handlers:
            self._dominators = compute_cfg_from_blocks(self.blocks).dominators()

    def pre_block(self, block):
        super().pre_block(block)
        slot = self._handlers.get(self._label)
        if slot is not None:
            b = self.builder
            raised = b.load(self.call_conv._get_excinfo_argument(b.function))
            with b.if_then(cgutils.is_not_null(b, raised)):  # null: a re-raise, which filled the slot itself
                self.call_conv.free_caught(b, b.load(slot))
                b.store(raised, slot)
        self.polls.at_block_start(self._label)

    def _free_handler_slots(self):
        for slot in self._handlers.values():
            self.call_conv.free_caught(self.builder, self.builder.load(slot))

    def _innermost_handler(self):
        """The slot of the handler whose exception is current here.

        Of the handlers that dominate the block, the innermost may be over already (`finally: try: ... except: ...`). A
        handler's own code goes to the same place on an error as its first instruction; so climb from here, from one
        destination to the next, until one is a handler's.
        """
        around = [h for h in self._handlers if h in self._dominators[self._label]]
        try:
            at = self._destination(self._label)
            while not (same := [h for h in around if self._destination(h) == at]) and at is not None:
                at = self._destination(at)
            around = same or around
        except KeyError:
            pass  # inlined IR: the dominators alone
        return self._handlers[max(around, key=lambda h: len(self._dominators[h]))] if around else None

    def _reraise(self, inst, leave: bool) -> bool:
        """`raise` without argument, or the end of a finally block. False if inst is neither."""
        bare = inst.exc_class is None
        if not bare:
            text = str(inst.exc_args[0]) if inst.exc_args else ""
            if inst.exc_class is not AssertionError or "Unreachable condition reached (op code RERAISE" not in text:
                return False
        slot = self._innermost_handler()
        if slot is None:
            return False
        b = self.builder
        exception = b.load(slot)
        b.store(exception, self.call_conv._get_excinfo_argument(b.function))
        b.store(lir.Constant(exception.type, None), slot)
        if leave:
            self.leave(USER_EXCEPTION, False)
            return True
        end = self.blocks[self._label].terminator
        if isinstance(end, ir.Jump) and end.target in self._handlers:
            outer = self._handlers[end.target]
            if outer is not slot:
                self.call_conv.free_caught(b, b.load(outer))
            b.store(exception, outer)
        return True

    def lower_static_raise(self, inst):
        if not self._reraise(inst, leave=True):
            super().lower_static_raise(inst)

    def lower_static_try_raise(self, inst):
        if not self._reraise(inst, leave=False):
            super().lower_static_try_raise(inst)
            self._hand_over()

    def lower_try_dynamic_raise(self, inst):
        """Numba would drop the values: it thinks that nobody looks at them. A `finally` passes them on."""
        arguments, kinds = [], []
        for given in inst.exc_args:
            if isinstance(given, ir.Var):
                kinds.append(self.typeof(given.name))
                arguments.append(self.loadvar(given.name))
                self.incref(kinds[-1], arguments[-1])
            else:
                kinds.append(None)
                arguments.append(given)
        name = self.func_ir.func_id.func_name
        self.call_conv.set_dynamic_user_exc(
            self.builder, inst.exc_class, tuple(arguments), tuple(kinds), loc=self.loc, func_name=name
        )
        self._hand_over()

    def _hand_over(self):
        """A raise inside a try also ends the try block, which clears the exception: its handler gets it here."""
        end = self.blocks[self._label].terminator
        slot = self._handlers.get(end.target) if isinstance(end, ir.Jump) else None
        if slot is not None:
            b = self.builder
            self.call_conv.free_caught(b, b.load(slot))
            b.store(b.load(self.call_conv._get_excinfo_argument(b.function)), slot)

    # ---- print

    def lower_print(self, inst):
        if UserLower.print_hook is None:
            super().lower_print(inst)
        else:
            UserLower.print_hook(self, inst)
