"""The examples of docs/drawdown.md, and what it says of two libraries."""

import re
from pathlib import Path

import pytest

from glue.paths import CHECKOUT
from tests.factories import Connection
from tests.sql.test_valuation_examples import answers, blocks

DRAWDOWN = blocks("docs/drawdown.md")

DRAW = """
create function public.draw(
    p_values numeric[], p_flows numeric[] default null, p_currency text default 'USD'
) returns void language plpgsql as $$
declare
    v_account_id bigint;
    v_value numeric := 0;
    v_flow numeric := 100;
    v_index numeric := 1;
    v_base numeric := 100;
    v_at timestamptz := '2026-03-02 12:00Z';
begin
    select account_id into v_account_id from api.open_account('Drawn', p_currency);
    for v_day in 1 .. cardinality(p_values) loop
        if v_base is not null and p_values[v_day] + v_flow <= 0 then
            v_index := null;
            v_base := null;
        end if;
        insert into equity.curve_bars values (
            v_account_id, v_at, 0, v_value, greatest(v_value, p_values[v_day]),
            least(v_value, p_values[v_day]), p_values[v_day], v_flow, v_flow, v_index, v_base,
            greatest(v_value - p_values[v_day], 0),
            case when v_base is not null then market.round_div(
                greatest(v_value - p_values[v_day], 0), v_value + v_flow, 12
            ) end,
            true, false
        );
        v_value := p_values[v_day];
        if p_flows[v_day] <> 0 then
            v_index := market.round_div(v_index * (v_value + v_flow), v_base, 12);
            v_flow := v_flow + p_flows[v_day];
            v_base := v_value + v_flow;
        end if;
        v_at := v_at + interval '24 hours';
    end loop;
end $$
"""


@pytest.mark.parametrize("block", DRAWDOWN)
def test_the_document_answers_what_the_database_does(conn: Connection, block: str) -> None:
    conn.execute("set timezone to 'UTC'")
    conn.execute("set search_path to public")
    conn.execute(DRAW)
    compared = answers(conn, DRAWDOWN[block])
    assert compared, "the block shows no answer"
    zero = "0.000000000000"  # which Python writes in another way
    assert [ours.replace("0E-12", zero) for ours, _ in compared] == [text for _, text in compared]


def test_every_section_of_definitions_has_an_example() -> None:
    text = Path(CHECKOUT, "docs/drawdown.md").read_text()
    headings = set(re.findall(r"^## (.*)$", text, flags=re.MULTILINE)) - {"Sources"}
    assert headings == {block.rpartition(",")[0] for block in DRAWDOWN}


def test_the_libraries_differ_as_the_document_says() -> None:
    """The curve of the last example: 100, 80, 100."""
    pandas = pytest.importorskip("pandas")
    quantstats = pytest.importorskip("quantstats.stats")
    empyrical = pytest.importorskip("empyrical")
    returns = pandas.Series([-0.2, 0.25], index=pandas.date_range("2026-03-02", periods=2))
    assert quantstats.ulcer_index(returns) == pytest.approx(0.2)
    assert quantstats.recovery_factor(returns) == pytest.approx(0.25)
    assert quantstats.max_drawdown(returns) == pytest.approx(-0.2)
    assert empyrical.max_drawdown(returns) == pytest.approx(-0.2)
    prices = pandas.Series([80.0, 100.0], index=returns.index)
    assert quantstats.max_drawdown(prices) == 0
    assert not hasattr(empyrical, "ulcer_index")
