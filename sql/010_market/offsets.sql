-- Moves a partition on from exactly where it stands. A cluster that was not seen before starts
-- where the caller says. A topic that was made anew has another id, and its offsets mean others.
-- Locks: the partition's row: a second feeder of the same partition waits and is then refused.
-- Raises: TM201.
create or replace function market.move_offset(
    p_cluster text,
    p_topic text,
    p_partition int,
    p_first_offset bigint,
    p_next_offset bigint,
    p_topic_id text
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_stored market.ingest_offsets;
begin
    insert into market.ingest_offsets (cluster_id, topic, partition, next_offset, updated_at)
    values (p_cluster, p_topic, p_partition, p_first_offset, now())
    on conflict (cluster_id, topic, partition) do nothing;

    update market.ingest_offsets
    set next_offset = p_next_offset, updated_at = now(),
        topic_id = coalesce(p_topic_id, topic_id)
    where cluster_id = p_cluster and topic = p_topic and partition = p_partition
      and next_offset = p_first_offset
      and (topic_id is null or p_topic_id is null or topic_id = p_topic_id);
    if not found then
        select * into v_stored
        from market.ingest_offsets
        where cluster_id = p_cluster and topic = p_topic and partition = p_partition;
        raise exception 'batch does not follow the stored offset'
            using errcode = 'TM201',
                  detail = format(
                      'cluster: %s, topic: %s, partition: %s, stored: %s, first of the batch: %s, '
                      'topic ids: %s and %s',
                      p_cluster, p_topic, p_partition, v_stored.next_offset, p_first_offset,
                      v_stored.topic_id, p_topic_id
                  ),
                  hint = 'Read the topic again from the stored offset (api.ingest_offsets).';
    end if;
end
$$;

comment on function market.move_offset is
    'Moves the stored offset of a topic partition from the first to the next, or raises.';
