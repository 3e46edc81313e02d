"""What a program does is counted in its text: loops as often as they run, otherwise what XLA's own count says."""

import jax
import jax.numpy as jnp
import pytest

from structmfg.parallel import program_cost


def compiled(function, *shapes):
    return jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile()


def test_a_program_without_loops_costs_what_xla_says():
    def product(a, b, x):
        return jnp.sum(jax.nn.relu(a @ b) - 2 * x[:, None], axis=0) + a[0, 0]

    program = compiled(product, (64, 48), (48, 32), (64,))
    cost, known = program_cost(program.as_text()), program.cost_analysis()
    assert cost.flops == pytest.approx(known["flops"], rel=0.01)
    assert cost.flops == pytest.approx(2 * 64 * 48 * 32, rel=0.1)
    assert cost.bytes_moved == pytest.approx(known["bytes accessed"], rel=0.05)
    assert (cost.messages, cost.bytes_sent, cost.open_loops) == (0, 0, 0)


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
    """Also within another."""

    def rows(a, x):
        def inner(x, row):
            return a @ x + row, jnp.sin(x)

        return jax.lax.fori_loop(0, 5, lambda _, x: jax.lax.scan(inner, x, jnp.ones((7, 64)) * x)[0], x)

    once = program_cost(compiled(lambda a, x: a @ x, (64, 64), (64,)).as_text())
    program = compiled(rows, (64, 64), (64,))
    cost = program_cost(program.as_text())
    assert 1 < cost.flops / (5 * 7 * once.flops) < 1.1
    assert 1 < cost.bytes_moved / (5 * 7 * once.bytes_moved) < 1.25
    assert program.cost_analysis()["flops"] < cost.flops / 20  # which counts bodies once
    assert cost.open_loops == 0


def test_a_turn_reads_and_writes_no_more_than_its_row():
    program = compiled(lambda rows: jax.lax.scan(lambda x, row: (x, jnp.sin(row)), 0.0, rows)[1], (500, 64))
    assert 2 < program_cost(program.as_text()).bytes_moved / (500 * 64 * 4) < 8


ON_A_GPU = """HloModule turns
%added (p: f32[6]) -> f32[6] {
  %p = f32[6]{0} parameter(0)
  ROOT %sum = f32[6]{0} add(%p, %p)
}

%body (a: (s32[], f32[6])) -> (s32[], f32[6]) {
  %a = (s32[], f32[6]{0}) parameter(0)
  %i = s32[] get-tuple-element(%a), index=0
  %x = f32[6]{0} get-tuple-element(%a), index=1
  %start = ((f32[6]{0}), f32[6]{0}) fusion-start(%x), kind=kLoop, calls=%added
  %done = f32[6]{0} fusion-done(%start)
  %y = f32[6]{0} fusion(%done), kind=kLoop, calls=%added
  %next = s32[] add(%i, %i)
  ROOT %out = (s32[], f32[6]{0}) tuple(%next, %y)
}

%test (a: (s32[], f32[6])) -> pred[] {
  %a.1 = (s32[], f32[6]{0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%a.1), index=0
  ROOT %less = pred[] compare(%i.1, %i.1), direction=LT
}

ENTRY %main (a: (s32[], f32[6])) -> (s32[], f32[6]) {
  %a.2 = (s32[], f32[6]{0}) parameter(0)
  ROOT %loop = (s32[], f32[6]{0}) while(%a.2), condition=%test, body=%body, TURNS
}
"""


def test_kernels_of_a_gpu_are_counted():
    """Those on another stream, too, and no condition where the number of turns is known."""
    cost = program_cost(ON_A_GPU.replace("TURNS", 'backend_config={"known_trip_count":{"n":"5"}}'))
    assert (cost.kernels, cost.open_loops) == (5 * 3, 0)
    assert cost.flops == 5 * (6 + 6 + 1)
    assert cost.bytes_moved == 5 * (2 * 2 * 24 + 3 * 4)


def test_a_loop_of_unknown_length_is_told():
    program = compiled(lambda x: jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: jnp.sort(x) + 0.1, x), (64,))
    assert program_cost(program.as_text()).open_loops == 1


GROUPS = """HloModule each, num_partitions=8
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main (x: f32[6], y: f64[2]) -> (f32[6], f32[24]) {
  %x = f32[6]{0} parameter(0)
  %y = f64[2]{0} parameter(1)
  %all = (f32[6]{0}, f64[2]{0}) all-reduce(%x, %y), replica_groups=[2,4]<=[8], to_apply=%sum
  %one = f32[6]{0} all-reduce(%x), replica_groups={{0},{1}}, to_apply=%sum
  %moved = f32[6]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}
  %part = f32[3]{0} reduce-scatter(%x), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%sum
  %every = f32[48]{0} all-gather(%x), replica_groups={}, dimensions={0}
  ROOT %result = (f32[6]{0}, f32[48]{0}) tuple(%moved, %every)
}
"""


def test_messages_are_counted_by_their_groups():
    """Of an all-reduce over 4: up and down a tree of two levels, and twice three quarters of 24 + 16 bytes."""
    cost = program_cost(GROUPS)
    assert cost.messages == 2 * 2 + 0 + 1 + 1 + 3
    assert cost.bytes_sent == 2 * 3 / 4 * 40 + 24 + 24 / 2 + 7 * 24


def test_other_texts_are_refused():
    with pytest.raises(ValueError, match="has no ENTRY"):
        program_cost("module @jit_f")
