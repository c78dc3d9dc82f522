-- Acknowledges a discrepancy for whoever holds a dashboard token, in the name of its label. Doing
-- it again with the same note changes nothing.
-- Locks and notifies as api.acknowledge_discrepancy. Raises: TM303 token opens nothing, TM304 not
-- allowed, TM305 unknown, TM306 resolved, TM307 acknowledged before, TM408 note too long.
create or replace function api.acknowledge_with_token(
    p_token text, p_discrepancy_id bigint, p_note text default null
) returns api.discrepancies
language plpgsql
security definer  -- the relay may pass on what a token allows, and nothing else
set search_path = pg_catalog, pg_temp
as $$
declare
    v_token relay.tokens;
    v_result api.discrepancies;
begin
    select * into v_token
    from relay.tokens t
    where t.token_hash = relay.token_hash(p_token)
      and t.revoked_at is null and t.expires_at > now();
    if not found then
        raise exception 'token opens nothing'
            using errcode = 'TM303',
                  detail = 'It is unknown, has expired or was revoked.',
                  hint = 'Get a new one: api.issue_token.';
    end if;
    if not v_token.may_acknowledge then
        raise exception 'token may not acknowledge discrepancies'
            using errcode = 'TM304', detail = format('token_id: %s', v_token.token_id),
                  hint = 'Issue one with p_may_acknowledge, or use api.acknowledge_discrepancy.';
    end if;
    -- one of another account looks like one that does not exist
    if not exists (
        select from recon.discrepancies d
        where d.discrepancy_id = p_discrepancy_id
          and (v_token.account_ids is null or d.account_id = any (v_token.account_ids))
    ) then
        raise exception 'token opens no such discrepancy'
            using errcode = 'TM305', detail = format('discrepancy_id: %s', p_discrepancy_id),
                  hint = 'Get a token for the account of the discrepancy.';
    end if;

    v_result := api.acknowledge_discrepancy(
        p_discrepancy_id, left(v_token.label, 200), p_note
    );
    if v_result.status = 'resolved' then
        raise exception 'discrepancy is resolved already'
            using errcode = 'TM306',
                  detail = format('resolved at: %s', v_result.resolved_at),
                  hint = 'Nothing is left to do.';
    end if;
    if (v_result.acknowledged_by, v_result.note)
        is distinct from (left(v_token.label, 200), p_note) then
        raise exception 'discrepancy was acknowledged before'
            using errcode = 'TM307',
                  detail = format(
                      'by: %s, at: %s', v_result.acknowledged_by, v_result.acknowledged_at
                  ),
                  hint = 'api.discrepancies says who looks after it, and their note.';
    end if;
    return v_result;
end
$$;

comment on function api.acknowledge_with_token is
    'Acknowledges a discrepancy by what a dashboard token allows, in the name of its label, and '
    'returns it as it stands in api.discrepancies.';

grant execute on function api.acknowledge_with_token to tidemark_relay;
