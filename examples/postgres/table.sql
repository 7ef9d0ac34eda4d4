CREATE TABLE trade (
    id    text PRIMARY KEY,  -- pipeline/topic/partition/offset/index: the same for the same output, whatever crashed
    time  timestamptz,
    key   text,
    value jsonb
);

-- Takes a line of `sluicegate consume`. What is there already is left as it is; a record without an id is an error.
CREATE PROCEDURE keep(line json) LANGUAGE sql AS $$
    INSERT INTO trade (id, time, key, value)
    SELECT (SELECT header ->> 1
            FROM json_array_elements(line -> 'headers') WITH ORDINALITY AS headers (header, number)
            WHERE header ->> 0 = 'sluicegate-id'
            ORDER BY number DESC LIMIT 1),  -- the last one: earlier ones are of pipelines before this one
           to_timestamp((line ->> 'timestamp')::float8 / 1000),
           line ->> 'key',
           (line ->> 'value')::jsonb
    ON CONFLICT (id) DO NOTHING
$$;
