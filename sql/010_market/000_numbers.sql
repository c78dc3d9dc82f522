-- Arithmetic that is exact to the last digit. The bodies are bound when they are created, which is
-- why these functions pin no search_path: pinned, they could not be inlined into a statement.

-- Divides and rounds once, half away from zero: one decimal more than asked for, cut off there,
-- tells on which side of the half a quotient is. Division followed by round() rounds twice.
create or replace function market.round_div(
    p_numerator numeric, p_denominator numeric, p_scale int
) returns numeric
language sql immutable strict parallel safe
return round(
    div(p_numerator * ('1e' || (p_scale + 1)::text)::numeric, p_denominator)
        * ('1e-' || (p_scale + 1)::text)::numeric,
    p_scale
);

comment on function market.round_div is
    'Quotient at p_scale decimals, rounded once and half away from zero.';

-- Halving by multiplication keeps every digit.
create or replace function market.mid(p_bid numeric, p_ask numeric) returns numeric
language sql immutable strict parallel safe
return (p_bid + p_ask) * 0.5;

comment on function market.mid is 'The price halfway between bid and ask, exact.';

grant execute on function market.round_div, market.mid to public;
