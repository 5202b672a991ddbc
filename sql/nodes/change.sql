-- nodes: changing the map
--
-- The map belongs to all tables of the database, so no owner of a table may
-- change it: these functions are for the owner of the extension, and for roles
-- that are granted them one by one.  They move no row of a user: first the rows
-- move, then the map.

-- The lock of the map, and what every change looks at first.
CREATE OR REPLACE FUNCTION _open_map(node text, must_exist boolean, buckets int[] = NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bad int;
BEGIN
    LOCK TABLE cozi.shard_map IN SHARE UPDATE EXCLUSIVE MODE;
    IF must_exist AND NOT EXISTS (SELECT FROM cozi.nodes n WHERE n.node = _open_map.node) THEN
        RAISE EXCEPTION 'node "%" does not exist', node
            USING ERRCODE = 'undefined_object', HINT = 'Table cozi.nodes lists the nodes.';
    END IF;
    SELECT b INTO bad FROM unnest(buckets) b WHERE b IS NULL OR b NOT BETWEEN 0 AND 1023 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'bucket % is out of range', coalesce(bad::text, 'NULL')
            USING ERRCODE = 'numeric_value_out_of_range',
                  HINT = 'A bucket is 0 to 1023, such as shard_of(user_id, 1024).';
    END IF;
END
$$;
COMMENT ON FUNCTION _open_map(text, boolean, int[]) IS
'Locks the map of buckets against other changes, and checks a node and buckets';

CREATE OR REPLACE FUNCTION _check_node(node text, capacity float8) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF node !~ '^[A-Za-z0-9_.-]{1,63}$' THEN
        RAISE EXCEPTION 'name of a node "%" must have 1 to 63 letters, digits and "_.-"', node
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (capacity > 0 AND capacity <= 1e9) THEN
        RAISE EXCEPTION 'argument "capacity" must be greater than zero, and at most 1e9'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A node of capacity 2 takes twice the load of a node of capacity 1.';
    END IF;
END
$$;
COMMENT ON FUNCTION _check_node(text, float8) IS
'Raises an error if the name or the capacity of a node is none';

CREATE OR REPLACE FUNCTION add_node(node text, server text = NULL, capacity float8 = 1,
    region text = NULL, reserved boolean = false) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    number int;
BEGIN
    PERFORM cozi._need('node', add_node.node IS NOT NULL),
            cozi._need('capacity', add_node.capacity IS NOT NULL),
            cozi._need('reserved', add_node.reserved IS NOT NULL),
            cozi._check_node(add_node.node, add_node.capacity);
    PERFORM cozi._open_map(add_node.node, false);
    IF EXISTS (SELECT FROM cozi.nodes n WHERE n.node = add_node.node) THEN
        RAISE EXCEPTION 'node "%" exists already', add_node.node
            USING ERRCODE = 'duplicate_object',
                  HINT = 'cozi.alter_node() changes a node.';
    END IF;
    SELECT min(g) INTO number
    FROM generate_series(0, (SELECT count(*)::int FROM cozi.nodes)) g
    WHERE NOT EXISTS (SELECT FROM cozi.nodes n WHERE n.number = g);
    INSERT INTO cozi.nodes (node, number, server, capacity, region, reserved)
    VALUES (add_node.node, number, nullif(add_node.server, ''), add_node.capacity,
            nullif(add_node.region, ''), add_node.reserved);
    INSERT INTO cozi.shard_map (bucket, node, version)
    SELECT g.b, add_node.node, v.v
    FROM generate_series(0, 1023) g (b),
        (SELECT nextval('cozi.shard_map_version') AS v) v
    WHERE NOT EXISTS (SELECT FROM cozi.shard_map m WHERE m.bucket = g.b);
    RETURN number;
END
$$;
COMMENT ON FUNCTION add_node(text, text, float8, text, boolean) IS
'Adds a node and returns its number; the first node gets all buckets, a later one none until they '
'are moved; server is the foreign server that leads to it, NULL for this database; an error if '
'another argument than server and region is NULL';

CREATE OR REPLACE FUNCTION alter_node(node text, server text = NULL, capacity float8 = NULL,
    region text = NULL, reserved boolean = NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM cozi._need('node', alter_node.node IS NOT NULL),
            cozi._check_node(alter_node.node, coalesce(alter_node.capacity, 1));
    PERFORM cozi._open_map(alter_node.node, true);
    UPDATE cozi.nodes n
    SET server = CASE WHEN alter_node.server IS NULL THEN n.server
                      ELSE nullif(alter_node.server, '') END,
        capacity = coalesce(alter_node.capacity, n.capacity),
        region = CASE WHEN alter_node.region IS NULL THEN n.region
                      ELSE nullif(alter_node.region, '') END,
        reserved = coalesce(alter_node.reserved, n.reserved)
    WHERE n.node = alter_node.node;
END
$$;
COMMENT ON FUNCTION alter_node(text, text, float8, text, boolean) IS
'Changes a node; an empty server or region means none; an argument that is NULL changes nothing';

CREATE OR REPLACE FUNCTION remove_node(node text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held bigint;
BEGIN
    PERFORM cozi._need('node', remove_node.node IS NOT NULL);
    PERFORM cozi._open_map(remove_node.node, true);
    SELECT count(*) INTO held FROM cozi.shard_map m WHERE m.node = remove_node.node;
    IF held > 0 THEN
        RAISE EXCEPTION 'node "%" has % buckets', remove_node.node, held
            USING ERRCODE = 'object_in_use',
                  HINT = format('Move them first: cozi.rebalance_plan(drain => ARRAY[%L]).',
                                remove_node.node);
    END IF;
    DELETE FROM cozi.nodes n WHERE n.node = remove_node.node;
END
$$;
COMMENT ON FUNCTION remove_node(text) IS
'Removes a node that has no bucket; an error if it has one, or if the node is NULL';

CREATE OR REPLACE FUNCTION move_buckets(buckets int[], node text, pin boolean = NULL)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wrong record;
    moved int;
BEGIN
    PERFORM cozi._need('buckets', move_buckets.buckets IS NOT NULL),
            cozi._need('node', move_buckets.node IS NOT NULL);
    PERFORM cozi._open_map(move_buckets.node, true, move_buckets.buckets);
    SELECT m.bucket, m.region, m.pinned, n.reserved INTO wrong
    FROM cozi.shard_map m, cozi.nodes n
    WHERE m.bucket = ANY (move_buckets.buckets) AND n.node = move_buckets.node
        AND (m.region <> coalesce(n.region, '')
             OR n.reserved AND NOT coalesce(move_buckets.pin, m.pinned))
    ORDER BY m.bucket LIMIT 1;
    IF FOUND AND wrong.region IS NOT NULL THEN
        RAISE EXCEPTION 'bucket % may lie in region "%" alone', wrong.bucket, wrong.region
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'cozi.set_region() changes the region of buckets.';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'node "%" is reserved for buckets that are pinned to it', move_buckets.node
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Use pin => true.';
    END IF;
    UPDATE cozi.shard_map m
    SET node = move_buckets.node, pinned = coalesce(move_buckets.pin, m.pinned)
    WHERE m.bucket = ANY (move_buckets.buckets)
        AND (m.node <> move_buckets.node OR m.pinned <> coalesce(move_buckets.pin, m.pinned));
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
COMMENT ON FUNCTION move_buckets(int[], text, boolean) IS
'Says in the map that buckets lie on a node, and returns how many rows of the map changed; moves '
'no row of a user; pin => true pins them, NULL leaves that as it is; an error if another argument '
'is NULL';

CREATE OR REPLACE FUNCTION pin_buckets(buckets int[], pinned boolean = true) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    changed int;
BEGIN
    PERFORM cozi._need('buckets', pin_buckets.buckets IS NOT NULL),
            cozi._need('pinned', pin_buckets.pinned IS NOT NULL);
    PERFORM cozi._open_map(NULL, false, pin_buckets.buckets);
    UPDATE cozi.shard_map m SET pinned = pin_buckets.pinned
    WHERE m.bucket = ANY (pin_buckets.buckets) AND m.pinned <> pin_buckets.pinned;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION pin_buckets(int[], boolean) IS
'Pins buckets to the nodes that they lie on, or with false unpins them, and returns how many rows '
'of the map changed; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION set_region(buckets int[], region text) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    changed int;
BEGIN
    PERFORM cozi._need('buckets', set_region.buckets IS NOT NULL);
    PERFORM cozi._open_map(NULL, false, set_region.buckets);
    IF set_region.region <> ''
        AND NOT EXISTS (SELECT FROM cozi.nodes n WHERE n.region = set_region.region) THEN
        RAISE EXCEPTION 'no node is in region "%"', set_region.region
            USING ERRCODE = 'undefined_object',
                  HINT = 'cozi.add_node() and cozi.alter_node() say the region of a node.';
    END IF;
    UPDATE cozi.shard_map m SET region = nullif(set_region.region, '')
    WHERE m.bucket = ANY (set_region.buckets)
        AND m.region IS DISTINCT FROM nullif(set_region.region, '');
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION set_region(int[], text) IS
'Says in which region buckets may lie, and returns how many rows of the map changed; '
'rebalance_plan() then moves them there; any region if region is NULL';
