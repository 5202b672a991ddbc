-- The extension installs, and every object in it is documented.
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'cozi';
-- no object without a COMMENT
SELECT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cozi')
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
  -- from 18 on the row types of tables, and arrays, are members as well
  AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                  WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                    AND (c.relkind <> 'c' OR t.typcategory = 'A'))
ORDER BY 1;
