"""The loop of `fit`: what it computes, when it ends, what it compiles, what it goes on from."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import equations, slow
from systems import FAST, decay

import asgard as ag
from asgard.fitting.compiled import update_of
from asgard.fitting.descent import advance

# Two numbers, of which losses below are functions: no run is needed to see what the loop does.
PLANE = ag.Scalar(3.0) >> ag.Const(-2.0) @ ag.Id()
TARGET = (0.5, 1.5)


def bowl(circuit, x=TARGET[0], y=TARGET[1]):
    numbers = ag.parameters(circuit)
    return (numbers["scalar.factor"] - x) ** 2 + 4 * (numbers["const.value"] - y) ** 2


def place(circuit):
    return np.array([float(value) for value in ag.parameters(circuit).values()])


def fitted(circuit=PLANE, loss=bowl, **options):
    return ag.fit(circuit, loss, **({"optimizer": optax.sgd(0.1), "steps": 5} | options))


def test_steps_are_those_of_a_loop_by_hand():
    optimizer = optax.adam(0.1)
    circuit, losses = PLANE, []
    state = optimizer.init(circuit)
    for _ in range(7):
        loss, gradient = jax.value_and_grad(bowl)(circuit)
        updates, state = optimizer.update(gradient, state)
        circuit = optax.apply_updates(circuit, updates)
        losses.append(loss)
    found = fitted(optimizer=optimizer, steps=7)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-13)
    np.testing.assert_allclose(place(found.circuit), place(circuit), rtol=1e-13)
    assert found.steps == 7
    assert found.status == ag.FitStatus.steps
    # The loss of the circuit that comes back, which no step starts from.
    np.testing.assert_allclose(found.loss, bowl(circuit), rtol=1e-13)


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (optax.lbfgs(), 20),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), 400),
        (optax.apply_if_finite(optax.adam(0.1), 3), 400),
        (optax.sgd(optax.cosine_decay_schedule(0.1, 200)), 200),
        (optax.chain(optax.sgd(0.5), optax.scale_by_backtracking_linesearch(20)), 200),
        (optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()), 400),
    ],
    ids=["lbfgs", "clipped", "if finite", "schedule", "backtracking", "plateau"],
)
def test_optimisers_of_all_kinds_find_the_minimum(optimizer, steps):
    found = fitted(optimizer=optimizer, steps=steps)
    np.testing.assert_allclose(place(found.circuit), TARGET, rtol=1e-4)


def test_a_schedule_counts_the_steps():
    # On a slope of 1, steps are the schedule's values.
    schedule = optax.piecewise_constant_schedule(1.0, {2: 0.5, 3: 0.5})
    found = fitted(loss=lambda c: ag.parameters(c)["const.value"], optimizer=optax.sgd(schedule))
    np.testing.assert_allclose(-np.diff(found.losses), [1.0, 1.0, 0.5, 0.25])


def test_clipping_bounds_a_step():
    optimizer = optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(1.0))
    found = fitted(optimizer=optimizer, steps=1)
    moved = np.linalg.norm(place(found.circuit) - place(PLANE))
    np.testing.assert_allclose(moved, 0.25, rtol=1e-13)


@pytest.mark.parametrize(
    "after", [slow(optax.scale(0.5)), optax.clip(0.3)], ids=["scaled", "clipped"]
)
def test_what_comes_after_a_line_search_changes_its_step_and_not_the_losses(after):
    optimizer = optax.chain(optax.lbfgs(), after)
    free, losses = ag.parameters(PLANE), []
    state = optimizer.init(free)

    def of(free):
        return bowl(ag.update(PLANE, free))

    @jax.jit
    def step(free, state):
        loss, slope = jax.value_and_grad(of)(free)
        known = {"value": loss, "grad": slope, "value_fn": of}
        updates, state = optimizer.update(slope, state, free, **known)
        return optax.apply_updates(free, updates), state, loss

    for _ in range(6):
        free, state, loss = step(free, state)
        losses.append(loss)
    found = fitted(optimizer=optimizer, steps=6)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)
    assert losses[-1] < losses[0] / 2


def test_a_line_search_evaluates_no_loss_twice():
    calls = []

    def counted(circuit):
        jax.debug.callback(lambda: calls.append(1))
        return bowl(circuit)

    fitted(loss=counted, optimizer=optax.lbfgs(), steps=6)
    jax.effects_barrier()
    reused = len(calls)
    calls.clear()
    fitted(loss=lambda c, key: counted(c), key=jax.random.key(0), optimizer=optax.lbfgs(), steps=6)
    jax.effects_barrier()
    assert 0 < reused < len(calls)


@pytest.mark.parametrize(
    "trainable",
    [
        ["const.value"],
        "const.value",
        lambda name, value: name.startswith("const") and value.shape == (),
        jax.tree.unflatten(jax.tree.structure(PLANE), [False, True]),
        {"scalar.factor": False, "const.value": True},
        {"const.value": True},
    ],
    ids=["names", "name", "predicate", "pytree", "dictionary", "part of one"],
)
def test_only_what_is_trainable_moves(trainable):
    found = fitted(trainable=trainable, steps=200)
    np.testing.assert_allclose(place(found.circuit), [3.0, TARGET[1]], rtol=1e-10)


def test_fixed_numbers_stay_and_constrained_ones_keep_their_bound():
    circuit = ag.Scalar(ag.Bounded(3.0, 1.0, 5.0)) >> ag.Const(ag.Fixed(-2.0)) @ ag.Id()
    found = fitted(circuit, optimizer=optax.adam(0.2), steps=2000)
    factor, value = place(found.circuit)
    assert value == -2.0
    assert 1.0 < factor < 1.01  # towards 0.5, out of reach
    assert jax.tree.structure(found.circuit) == jax.tree.structure(circuit)


def test_a_constraint_does_not_move_a_minimum_that_it_holds():
    circuit = ag.Scalar(ag.Positive(3.0)) >> ag.Const(ag.Bounded(0.0, -4.0, 2.0)) @ ag.Id()
    found = fitted(circuit, optimizer=optax.lbfgs(), steps=50, tol=1e-9)
    assert found.status == ag.FitStatus.converged
    np.testing.assert_allclose(place(found.circuit), TARGET, rtol=1e-8)


def test_the_optimiser_sees_numbers_by_name():
    labels = {"scalar.factor": "slow", "const.value": "fast"}
    optimizer = optax.multi_transform({"slow": optax.sgd(0.0), "fast": optax.sgd(0.125)}, labels)
    np.testing.assert_allclose(place(fitted(optimizer=optimizer, steps=2).circuit), [3.0, 1.5])


@pytest.mark.parametrize(
    ("tol", "met"),
    [
        (1e-3, lambda loss, slope: slope <= 1e-3),
        ({"gradient": 1e-2}, lambda loss, slope: slope <= 1e-2),
        ({"loss": 1e-4}, lambda loss, slope: loss <= 1e-4),
        ({"loss": 1e-9, "gradient": 1e-2}, lambda loss, slope: loss <= 1e-9 or slope <= 1e-2),
    ],
)
def test_a_fit_ends_at_the_first_place_that_meets_the_tolerance(tol, met):
    found = fitted(steps=300, tol=tol)
    assert found.status == ag.FitStatus.converged
    steps = int(found.steps)
    assert 0 < steps < 300
    for taken in (steps - 1, steps):
        circuit = fitted(steps=taken).circuit
        slope = np.linalg.norm(place(jax.grad(bowl)(circuit)))
        assert met(bowl(circuit), slope) == (taken == steps)
    np.testing.assert_array_equal(place(found.circuit), place(circuit))
    assert np.isfinite(found.losses[: steps + 1]).all()
    assert np.isnan(found.losses[steps + 1 :]).all()


def cliff(circuit):
    """Falls towards 0.5 in the factor, and is not finite below 1."""
    factor = ag.parameters(circuit)["scalar.factor"]
    return jnp.where(factor < 1.0, jnp.nan, (factor - 0.5) ** 2)


def test_a_loss_that_is_not_finite_ends_the_fit_where_it_last_was():
    found = fitted(loss=cliff, steps=50, throw=False)
    assert found.status == ag.FitStatus.nonfinite
    steps = int(found.steps)
    assert np.isnan(found.losses[steps])
    assert cliff(found.circuit) == found.loss == found.losses[steps - 1]
    with pytest.raises(ag.FitError, match=f"nonfinite at step {steps}.*loss") as error:
        fitted(loss=cliff, steps=50)
    assert error.value.status == "nonfinite"
    np.testing.assert_array_equal(place(error.value.fit.circuit), place(found.circuit))
    with pytest.raises(ag.FitError, match=r"nonfinite at the start: .* data may hold NaN"):
        fitted(loss=lambda c: jnp.nan * bowl(c))


def test_a_predicate_of_values_is_refused_where_they_are_traced():
    with pytest.raises(ag.CircuitError, match="choose them by name"):
        jax.jit(lambda c: fitted(c, trainable=lambda name, value: value > 0).losses)(PLANE)


def test_the_last_step_is_judged_like_the_others():
    steps = int(fitted(loss=cliff, steps=50, throw=False).steps)
    found = fitted(loss=cliff, steps=steps, throw=False)
    assert found.status == ag.FitStatus.nonfinite
    assert found.steps == steps
    assert cliff(found.circuit) == found.loss == found.losses[-1]
    assert fitted(loss=cliff, steps=steps - 1).status == ag.FitStatus.steps


def test_a_last_step_that_meets_the_tolerance_says_so():
    steps = int(fitted(steps=300, tol=1e-3).steps)
    found = fitted(steps=steps, tol=1e-3)
    assert (found.status, found.steps) == (ag.FitStatus.converged, steps)


def test_a_gradient_that_is_not_finite_ends_the_fit_or_is_skipped():
    def spiked(circuit, key):
        # One step in three or so has a gradient that is not finite.
        bad = jax.random.uniform(key) < 0.3
        return bowl(circuit) * jnp.where(bad, jnp.nan, 1.0)

    options = {"loss": spiked, "key": jax.random.key(1), "steps": 200}
    assert fitted(**options, throw=False).status == ag.FitStatus.nonfinite
    skipping = optax.apply_if_finite(optax.sgd(0.1), 100)
    found = fitted(**options, optimizer=skipping)
    assert 20 < np.isnan(found.losses).sum() < 120
    np.testing.assert_allclose(place(found.circuit), TARGET, rtol=1e-9)


def test_two_half_fits_are_one_whole_fit_to_the_bit():
    data = jnp.arange(10.0)

    def noisy(circuit, data, key):
        return bowl(circuit, jnp.mean(data) + 0.1 * jax.random.normal(key))

    options = {"loss": noisy, "args": (data,), "key": jax.random.key(2), "batch": 3}
    options["optimizer"] = optax.adam(0.05)
    whole = fitted(**options, steps=14)
    first = fitted(**options, steps=7)
    second = fitted(**options, steps=7, state=first.state)
    np.testing.assert_array_equal(np.concatenate([first.losses, second.losses]), whole.losses)
    np.testing.assert_array_equal(place(second.circuit), place(whole.circuit))


def test_minibatches_take_every_example_once_an_epoch():
    # Sums of different powers of two say which were summed.
    data = 2.0 ** jnp.arange(12)
    found = fitted(
        loss=lambda c, data: jnp.sum(data) + 0 * bowl(c),
        args=(data,),
        batch=4,
        key=jax.random.key(3),
        steps=6,
    )
    drawn = np.asarray(found.losses, int)
    assert all(number.bit_count() == 4 for number in drawn.tolist())
    assert drawn[:3].sum() == drawn[3:].sum() == 2**12 - 1
    assert set(drawn[:3]) != set(drawn[3:])


def test_examples_that_make_no_whole_batch_are_left_out_of_an_epoch():
    data = 2.0 ** jnp.arange(10)
    options = {"args": (data,), "batch": 3, "key": jax.random.key(3), "steps": 12}
    drawn = fitted(loss=lambda c, data: jnp.sum(data) + 0 * bowl(c), **options).losses
    epochs = np.asarray(drawn, int).reshape(4, 3)
    left = (2**10 - 1) - epochs.sum(axis=1)
    assert all(number.bit_count() == 3 for number in epochs.ravel().tolist())
    assert all(number.bit_count() == 1 for number in left.tolist())
    assert len(set(left)) > 1


def test_each_step_draws_anew_and_the_same_key_draws_the_same():
    def drawn(circuit, key):
        return jax.random.normal(key) + 0 * bowl(circuit)

    one, same, other = (fitted(loss=drawn, key=jax.random.key(k)).losses for k in (0, 0, 1))
    assert len(set(np.asarray(one))) == 5
    np.testing.assert_array_equal(one, same)
    assert not np.isin(other, one).any()


def test_a_key_that_is_bound_already_is_not_asked_for():
    def drawn(circuit, key):
        return jax.random.normal(key) + 0 * bowl(circuit)

    losses = fitted(loss=functools.partial(drawn, key=jax.random.key(0))).losses
    np.testing.assert_array_equal(losses, jax.random.normal(jax.random.key(0)))


def test_fits_of_many_data_sets_go_side_by_side():
    targets = jnp.array([[0.1, 0.2], [-1.0, 2.0], [5.0, 0.0]])

    def one(target):
        return fitted(args=tuple(target), optimizer=optax.adam(0.2), steps=600, tol=1e-7)

    found = jax.vmap(one)(targets)
    numbers = jnp.stack(list(ag.parameters(found.circuit).values()), axis=1)
    np.testing.assert_allclose(numbers, targets, atol=1e-7)
    for lane, target in enumerate(targets):
        assert found.steps[lane] == one(target).steps
    assert found.check() is found


# Compilations of XLA, while a test listens.
COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: COMPILED.append(event) if "backend_compile" in event else None
)


def simulated(circuit, ts, data):
    output = ag.simulate(circuit, ts, calculus=FAST).output
    return jnp.mean((output - data) ** 2)


def test_a_fit_is_one_compilation_whatever_its_numbers():
    ts = jnp.linspace(0.0, 1.0, 5)

    def run(start, rate, data, **options):
        # The circuit and the optimiser are made anew, as users would.
        optimizer = optax.chain(
            optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adam)(rate)
        )
        return ag.fit(
            decay(start),
            simulated,
            args=(ts, data),
            optimizer=optimizer,
            steps=4,
            tol=1e-3 * rate,
            **options,
        )

    before = advance.jitted.whole._cache_size()
    traced = []

    def counted(circuit, ts, data):
        traced.append(1)
        return simulated(circuit, ts, data)

    ag.fit(decay(), counted, args=(ts, ts), optimizer=optax.sgd(0.1), steps=4)
    assert traced == [1]
    assert advance.jitted.whole._cache_size() == before + 1
    data, other_data = jnp.exp(-ts), jnp.exp(-2 * ts)
    first = run(0.5, 0.1, data)
    assert advance.jitted.whole._cache_size() == before + 2
    COMPILED.clear()
    second = run(0.7, 0.2, other_data)
    third = run(0.7, 0.2, other_data, state=first.state)
    assert COMPILED == []
    assert advance.jitted.whole._cache_size() == before + 2
    assert len({float(fit.loss) for fit in (first, second, third)}) == 3


ALIKE = {
    "adam": lambda: optax.adam(1e-2),
    "chain": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 50))
    ),
    "lbfgs": lambda: optax.lbfgs(),
    "if finite": lambda: optax.apply_if_finite(optax.adam(0.1), 3),
    "by name": lambda: optax.multi_transform(
        {"slow": optax.sgd(0.1), "fast": optax.adam(0.2)}, {"x": "slow", "y": "fast"}
    ),
    "masked": lambda: optax.masked(optax.adam(0.1), {"x": True, "y": False}),
    "rate in the state": lambda: optax.inject_hyperparams(optax.adam)(0.1),
    "arrays": lambda: optax.sgd(np.float32(0.1), momentum=jnp.asarray(0.9)),
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_optimisers_made_alike_compile_once(make):
    assert update_of(make()) is update_of(make())


def test_optimisers_that_differ_compile_each():
    rates = (0.1, 0.2, -0.0, 0.0, jnp.asarray(0.1), jnp.asarray(0.2), np.float32(0.1))
    schedules = [optax.cosine_decay_schedule(0.1, steps) for steps in (50, 60)]
    # Of functions that are not optax's, only identity is known.
    users = [lambda count: 0.1 / (1 + count) for _ in range(2)]
    optimizers = [*map(optax.sgd, (*rates, *schedules, *users)), optax.adam(0.1)]
    assert len(set(map(update_of, optimizers))) == len(optimizers)
    assert update_of(optax.sgd(users[0])) is update_of(optax.sgd(users[0]))


def test_a_loss_that_is_an_equinox_module_has_its_arrays_traced():
    class Distance(eqx.Module):
        target: jax.Array

        def __call__(self, circuit):
            return bowl(circuit, self.target)

    def moved(target):
        loss = Distance(jnp.asarray(target))
        return place(fitted(loss=loss, optimizer=optax.sgd(0.5), steps=1).circuit)[0]

    assert moved(1.0) == 1.0
    before = advance.jitted.whole._cache_size()
    assert moved(2.0) == 2.0
    assert advance.jitted.whole._cache_size() == before


def test_a_loss_reads_a_global_as_it_was_when_the_loss_was_first_fitted():
    def loss(circuit):
        return (circuit.factor - GOAL) ** 2

    def reached(loss):
        options = {"optimizer": optax.sgd(0.5), "steps": 2}
        return ag.fit(ag.Scalar(3.0), loss, **options).circuit.factor

    global GOAL
    GOAL = 1.0
    assert reached(loss) == 1.0
    GOAL = 2.0
    # As under `jax.jit`: the function is the same, and so is its program.
    assert reached(loss) == 1.0
    # A function made anew is another one.
    assert reached(lambda circuit: loss(circuit)) == 2.0


def to_target(circuit, target):
    return (circuit.factor - target) ** 2


@pytest.mark.parametrize("held", ["loss", "optimiser", "partial"])
def test_a_fit_within_a_trace_leaves_nothing_of_it_behind(held):
    @jax.jit
    def reached(target, rate):
        def loss(circuit, target=target):
            return (circuit.factor - target) ** 2

        if held == "partial":
            loss = functools.partial(to_target, target=target)
        args, loss = ((target,), to_target) if held == "optimiser" else ((), loss)
        options = {"optimizer": optax.sgd(rate if held == "optimiser" else 0.5), "steps": 2}
        return ag.fit(ag.Scalar(3.0), loss, args=args, **options).circuit.factor

    with jax.checking_leaks():
        assert reached(1.5, 0.5) == 1.5


def test_complex_numbers_move_downhill():
    found = fitted(
        ag.Const(1.0 + 1.0j),
        lambda circuit: jnp.abs(ag.parameters(circuit)["const.value"] - (2.0 - 3.0j)) ** 2,
        steps=100,
    )
    np.testing.assert_allclose(ag.parameters(found.circuit)["const.value"], 2 - 3j, rtol=1e-6)


def test_a_learning_rate_in_the_state_is_the_one_that_counts():
    def moved(rate):
        optimizer = optax.inject_hyperparams(optax.sgd)(rate)
        return place(fitted(optimizer=optimizer, steps=1).circuit) - place(PLANE)

    np.testing.assert_allclose(moved(0.02), 2 * moved(0.01), rtol=1e-12)


def test_optimisers_that_differ_are_not_taken_for_one_another():
    def moved(optimizer):
        return place(fitted(optimizer=optimizer, steps=1).circuit) - place(PLANE)

    np.testing.assert_allclose(moved(optax.sgd(0.02)), 2 * moved(optax.sgd(0.01)), rtol=1e-12)
    clipped = [optax.chain(optax.clip(bound), optax.sgd(1.0)) for bound in (0.5, 0.25)]
    np.testing.assert_allclose(moved(clipped[0]), 2 * moved(clipped[1]), rtol=1e-12)


def test_a_fit_calls_nothing_on_the_host():
    def names(loss, **options):
        return equations(lambda circuit: ag.fit(circuit, loss, **options).losses, decay())

    data = jnp.linspace(0.0, 1.0, 3)
    options = {"args": (data, data), "optimizer": optax.adam(0.1), "steps": 3}
    found = names(simulated, **options)
    assert "while" in found
    assert not [name for name in found if "callback" in name]

    def calling(circuit, ts, data):
        jax.debug.callback(lambda: None)
        return simulated(circuit, ts, data)

    # What looks for callbacks would see one.
    assert [name for name in names(calling, **options) if "callback" in name]


def updating(update, init=lambda numbers: 0):
    """Options with an optimiser of one's own."""
    made = update if callable(update) else lambda gradient, state, numbers: update
    return {"optimizer": optax.GradientTransformation(init, made)}


BATCHES = {"batch": 2, "key": jax.random.key(0), "args": (np.ones(4),)}
BATCHES["loss"] = lambda c, x: bowl(c) + 0 * jnp.sum(x)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"circuit": 3.0}, "takes a circuit"),
        ({"loss": 3.0}, "loss must be a function"),
        ({"loss": lambda c: jnp.ones(2)}, r"one number, not \(2,\)"),
        ({"loss": lambda c: "low"}, "one number, not str"),
        ({"loss": lambda c: 1}, "a real number, not one of int"),
        ({"optimizer": "adam"}, "one of optax"),
        ({"optimizer": optax.adam}, "one of optax"),
        (updating(None), "update must return the changes of the numbers and its state, not None"),
        (updating(lambda g, s: (g, s)), "update is called with the gradient, the state, the num"),
        (updating(lambda g, s, p: (list(g.values()), s)), "changes like the numbers, {.*, not"),
        (updating(lambda g, s, p: (g, (s, s))), "a state like that of init, .*, not"),
        (updating(lambda g, s, p: (g, s) if s > 2 else (p, s)), "update cannot be traced"),
        (
            {"optimizer": optax.multi_transform({"slow": optax.sgd(0.1)}, {"scalar": "slow"})},
            "cannot be made of the numbers by name, which are scalar.factor, const.value: ",
        ),
        ({"loss": lambda c: bowl(c) if bowl(c) > 1 else 0.0}, "the loss cannot be traced"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 1.5}, "steps must be an integer"),
        ({"trainable": ["scalar.facto"]}, "did you mean scalar.factor"),
        ({"trainable": []}, "nothing to fit"),
        ({"trainable": 3}, "trainable must be names"),
        ({"trainable": PLANE}, "True or False for each"),
        ({"tol": {"los": 1.0}}, 'for "loss" and "gradient"'),
        ({"tol": "small"}, "tol must be a number"),
        ({"tol": [1.0, 2.0]}, "tol must be one number"),
        ({"trainable": {"scalar.factor": 1}}, "True or False"),
        (
            {"circuit": ag.Scalar(ag.Fixed(1.0)) >> ag.Const(1.0) @ ag.Id()}
            | {"trainable": ["scalar.factor", "const.value"]},
            "names scalar.factor, which is Fixed",
        ),
        ({"trainable": {"scalar.facto": True}}, "did you mean scalar.factor"),
        ({"loss": lambda c, key: bowl(c), "key": 3}, "one JAX key"),
        ({"loss": lambda c, key: bowl(c), "key": jax.random.split(jax.random.key(0))}, "one JAX"),
        ({"batch": 2, "key": jax.random.key(0)}, "there are none"),
        ({"args": jnp.ones(3)}, "args must be a tuple"),
        ({"args": ("data",)}, "numbers and arrays"),
        ({"key": jax.random.key(0)}, "no argument key"),
        ({"loss": lambda c, key: bowl(c)}, "takes a key: give one"),
        ({"batch": 2}, "minibatches are drawn: give one"),
        ({"batch": 2, "key": jax.random.key(0), "args": (1.0,)}, "counts the examples"),
        (
            {"batch": 2, "key": jax.random.key(0), "args": (np.ones(3), np.ones(4))},
            "they have 3, 4",
        ),
        ({"batch": 5, "key": jax.random.key(0), "args": (np.ones(3),)}, "there are 3 examples"),
        ({"state": 3}, "state of an earlier fit"),
        ({"state": lambda: fitted(optimizer=optax.adam(0.1)).state}, "another optimiser"),
        ({"state": lambda: fitted(trainable="const.value").state}, "other trainable numbers"),
        ({"state": lambda: fitted(**BATCHES).state} | BATCHES | {"batch": 3}, "other minibatches"),
        ({"progress": "yes"}, "progress must be"),
        ({"every": 0}, "every must be an integer"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options, says, unchecked):
    if callable(options.get("state")):
        options = options | {"state": options["state"]()}
    with pytest.raises(ag.CircuitError, match=says):
        fitted(**options)


def test_a_start_out_of_its_bound_is_refused():
    inside = ag.Scalar(ag.Positive(1.0)) >> ag.Const(-2.0) @ ag.Id()
    outside = jax.tree.map(lambda leaf: -leaf, inside)  # as a step of an optimiser by hand may lead
    with pytest.raises(ag.CircuitError, match=r"Positive: the number must be above 0 .* not -1\.0"):
        fitted(outside)


class Simplex(ag.Constraint):
    """Parts of a whole: positive numbers whose sum is 1. Their free values are one fewer."""

    value: jax.Array

    def check(self):
        whole = jnp.abs(jnp.sum(self.value) - 1) < 1e-6
        self.refuse_unless((self.value > 0) & whole, "parts of 1")

    def free(self):
        return jnp.log(self.value[1:] / self.value[0])

    def at(self, free):
        return Simplex(jax.nn.softmax(jnp.append(0.0, free)))


def mixture(kind=Simplex, parts=(0.2, 0.3, 0.5)):
    return ag.Const(kind(jnp.array(parts)))


def test_a_constraint_of_ones_own_is_kept():
    wanted = jnp.array([0.6, 0.3, 0.1])

    def loss(circuit):
        return jnp.sum((ag.parameters(circuit)["const.value"] - wanted) ** 2)

    found = ag.fit(mixture(), loss, optimizer=optax.adam(0.1), steps=300).circuit
    np.testing.assert_allclose(ag.parameters(found)["const.value"], wanted, atol=1e-6)
    with pytest.raises(ag.CircuitError, match="Simplex: the number must be parts of 1"):
        mixture(parts=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"free": lambda self: None}, "free must return an array of numbers, not None"),
        ({"at": lambda self: self}, "at is called with a free value"),
        ({"at": lambda self, free: jax.nn.softmax(free)}, r".* of shape \(3,\), not"),
        ({"at": lambda self, free: Simplex(jax.nn.softmax(free))}, r".* of shape \(3,\), not"),
        ({"free": lambda self: jnp.log(self.value[1:])}, r"at\(free\(\)\) must be the number"),
    ],
)
def test_a_wrong_constraint_of_ones_own_is_refused(wrong, says, unchecked):
    with pytest.raises(ag.CircuitError, match="^Mine: " + says):
        fitted(mixture(type("Mine", (Simplex,), wrong)))
