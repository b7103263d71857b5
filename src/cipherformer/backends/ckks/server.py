"""The server's half: evaluates a plan with a client's evaluation keys. Secret-key code is never touched
here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cipherformer import _native as native
from cipherformer.backends.ckks.algebra import CkksAlgebra, Encoded, Refresher
from cipherformer.backends.ckks.engine import make_context, reading
from cipherformer.backends.ckks.resident import ResidentKeys
from cipherformer.backends.ckks.trace import Trace
from cipherformer.errors import FormatError, KeyMismatchError
from cipherformer.kernels import outer
from cipherformer.kernels.count import Ledger
from cipherformer.kernels.run import execute, flat, grouped
from cipherformer.kernels.step import Step
from cipherformer.plan.plan import Plan
from cipherformer.plan.weights import MAX_WEIGHT_BYTES, plan_weights

OnStep = Callable[[int, int], None]


class Evaluation:
    """One plan with one client's evaluation keys.

    Args:
        plan: what to compute.
        threads: of the engine.
        encoded: plaintexts encoded earlier for the same plan, to be shared between clients.
        max_weight_bytes: of encoded diagonals in memory: the largest are kept compact until all fit, which
            costs their transforms at every query.
        max_key_bytes: of evaluation keys in memory, of those that can be read again; the keys that one step
            needs are held together in any case. None: all stay.
        refresher: in place of bootstrapping, for tests.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        threads: int = 2,
        encoded: Encoded | None = None,
        max_weight_bytes: int = MAX_WEIGHT_BYTES,
        max_key_bytes: int | None = None,
        refresher: Refresher | None = None,
    ) -> None:
        self._plan = plan
        self._signature = plan.signature
        if encoded is None:
            weights = plan_weights(plan.steps, plan.transforms, plan.target, max_weight_bytes)
            encoded = Encoded(make_context(plan.target, threads=threads), weights.compact)
        self.encoded = encoded
        self._context = self.encoded.context
        keys = native.KeySet(self._context)
        self._evaluator = native.Evaluator(self._context, keys)
        needs = [ledger.key_names() for ledger in plan.ledgers]
        self.resident = ResidentKeys(keys, needs, max_key_bytes)
        self._refresher = refresher
        self._public_key: native.PublicKey | None = None
        self.ledger = Ledger()

    def prepare(self, on_step: OnStep | None = None) -> None:
        """Encode every diagonal now, so that the first query is as fast as the next."""
        jobs = [job for step in self._plan.steps for job in self._encodings(step)]
        for done, (name, level, scale) in enumerate(jobs):
            if on_step is not None:
                on_step(done, len(jobs))
            self.encoded.transform(self._plan.transforms[name], level, scale)

    def _encodings(self, step: Step) -> Iterator[tuple[str, int, float]]:
        """(key, level, scale) of the maps of a step."""
        scales = {s.name: s.scale for s in self._plan.steps}
        moduli = self._plan.target.moduli
        for term in step.terms:
            if term.transform and not step.stack:
                wanted = step.scale * moduli[step.level_in]
                yield term.transform, step.level_in, wanted / scales[step.inputs[term.source]]
        if step.left:
            operands = scales[step.inputs[0]], scales[step.inputs[1]]
            yield from outer.encodings(step.left, step.right, step.level_in, operands, step.scale, moduli)

    def add_key(self, name: str, data: bytes, reread: Callable[[], bytes] | None = None) -> None:
        """Take one evaluation key.

        Args:
            name: in the plan's signature.
            data: its bytes.
            reread: gives the bytes again, so that the key need not stay in memory.

        Raises:
            KeyMismatchError: made for other parameters, not named by the plan, or cut to too low a level.
            FormatError: malformed.
        """
        if name == "public" and name in self._signature.key_levels:
            with reading("the public key"):
                self._public_key = self._context.public_key(data)
            return
        again = None if reread is None else lambda: self._checked(name, reread())
        self.resident.add(name, self._checked(name, data), again)

    def _checked(self, name: str, data: bytes) -> native.SwitchingKey:
        with reading(f"the key {name}"):
            key = self._context.switching_key(data)
        wanted = self._signature.key_levels.get(name)
        found = f"rotate-{key.steps}" if key.kind == "rotate" else key.kind
        if wanted is None or found != name or key.level < wanted:
            raise KeyMismatchError(
                f"the key {name} does not fit the plan",
                why=f"it is {found} for level {key.level}"
                + ("" if wanted is None else f", level {wanted} is needed"),
                fix="make the keys from this plan's signature",
            )
        return key

    def missing_keys(self) -> tuple[str, ...]:
        """Names of the keys that are still needed."""
        have = {"public"} if self._public_key is not None else set()
        return tuple(n for n in self._signature.keys if n not in have and not self.resident.knows(n))

    def layer(self, position: int, /) -> str:
        """Module path in the user's model of a step, counted from 0."""
        step = self._plan.steps[position]
        return step.origin or step.name

    def run(self, query: list[bytes], on_step: OnStep | None = None) -> tuple[list[bytes], Trace]:
        """Answer one query; also returns where the time went.

        Raises:
            KeyMismatchError: keys are missing.
            FormatError: a ciphertext is malformed, or not of the level and scale that the plan says.
        """
        missing = self.missing_keys()
        if missing:
            raise KeyMismatchError(f"{len(missing)} evaluation keys are missing", why=", ".join(missing[:8]))
        specs = self._signature.inputs
        if len(query) != len(specs):
            raise FormatError(f"{len(query)} ciphertexts in the query", why=f"the plan takes {len(specs)}")
        trace, self.ledger = Trace(), Ledger()
        received = []
        with trace.timed("deserialise"):
            for spec, data in zip(specs, query, strict=True):
                with reading(f"the ciphertext {spec.name}"):
                    received.append(self._context.ciphertext(data))
                _check(received[-1], spec.name, spec.level, spec.scale)
        inputs = grouped(self._plan.steps, received)
        del received
        algebra = CkksAlgebra(
            self._plan.target.moduli,
            self._plan.target.slots,
            self._evaluator,
            self.encoded,
            self.ledger,
            trace,
            self._plan.bootstrap,
            self._refresher,
        )
        done = iter(range(len(self._plan.steps)))

        def enter(step: Step) -> None:
            trace.layer, trace.node, algebra.ledger.step = step.origin or step.name, step.name, step.name
            position = next(done)
            with trace.timed("deserialise"):
                self.resident.enter(position)
            if on_step is not None:
                on_step(position, len(self._plan.steps))

        plan = self._plan
        out = execute(algebra, plan.steps, plan.transforms, plan.vectors, inputs, plan.outputs, enter)
        answers = flat(out[name] for name in plan.outputs)
        if self._public_key is not None:
            with trace.timed("rerandomise"):
                answers = [self._public_key.rerandomise(a, plan.flood_bits) for a in answers]
        with trace.timed("serialise"):
            return [a.to_bytes() for a in answers], trace


def _check(ciphertext: native.Ciphertext, name: str, level: int, scale: float) -> None:
    if ciphertext.level != level or ciphertext.size != 2 or abs(ciphertext.scale / scale - 1) > 1e-9:
        raise FormatError(
            f"the ciphertext {name} is at level {ciphertext.level}, scale {ciphertext.scale:.6g}",
            why=f"the plan takes level {level}, scale {scale:.6g}",
            fix="encrypt with this plan's signature",
        )
