-- All that there is to say about the members of extension cozi, one line each and
-- without an OID: equal signatures are equal installations.
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'cozi'
), rel AS (
    SELECT c.* FROM member m
    JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass
), func AS (
    SELECT p.* FROM member m
    JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass
), acl (object, list) AS (
    SELECT 'function ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner)) FROM func
    UNION ALL
    SELECT 'relation ' || oid::regclass,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                       relowner))
    FROM rel
    UNION ALL
    SELECT format('column %s.%I', r.oid::regclass, a.attname), a.attacl
    FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
    UNION ALL
    SELECT 'type ' || t.oid::regtype, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM member m JOIN pg_type t ON t.oid = m.objid AND m.classid = 'pg_type'::regclass
    UNION ALL
    SELECT 'schema cozi', coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = 'cozi'
), said (kind, object, what) AS (
    SELECT 'member', pg_describe_object(classid, objid, 0),
           obj_description(objid, classid::regclass::name) FROM member
    UNION ALL
    SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
    FROM func WHERE prokind IN ('f', 'p')
    UNION ALL
    SELECT 'aggregate', p.oid::regprocedure::text,
           format('%s %s %s cost %s ', p.provolatile, p.proparallel, p.proisstrict, p.procost) || (
               SELECT string_agg(format('%s=%s', key, value), ' ' ORDER BY key)
               FROM jsonb_each_text(to_jsonb(g) - 'aggfnoid' || jsonb_build_object(
                   'aggtranstype', g.aggtranstype::regtype::text,
                   'aggmtranstype', g.aggmtranstype::regtype::text)))
    FROM func p JOIN pg_aggregate g ON g.aggfnoid = p.oid
    UNION ALL
    SELECT 'acl', object, (
        SELECT string_agg(item, ', ' ORDER BY item COLLATE "C")
        FROM (SELECT format('%s %s%s',
                            CASE grantee WHEN 0 THEN 'PUBLIC' WHEN grantor THEN 'owner'
                                ELSE grantee::regrole::text END,
                            privilege_type, CASE WHEN is_grantable THEN '*' END)
              FROM aclexplode(list)) i (item))
    FROM acl
    UNION ALL
    SELECT 'relation', oid::regclass::text,
           format('%s %s %s %s rls %s %s', relkind, relpersistence, relreplident, reloptions,
                  relrowsecurity, relforcerowsecurity)
    FROM rel
    UNION ALL
    SELECT 'view', oid::regclass::text, pg_get_viewdef(oid) FROM rel WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT 'column', format('%s.%s', r.oid::regclass, a.attnum),
           format('%I %s %s %s %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
                  a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation,
                  pg_get_expr(f.adbin, f.adrelid), col_description(r.oid, a.attnum))
    FROM rel r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef f ON f.adrelid = r.oid AND f.adnum = a.attnum
    UNION ALL
    SELECT 'constraint', format('%s.%s', r.oid::regclass, c.conname), pg_get_constraintdef(c.oid)
    FROM rel r JOIN pg_constraint c ON c.conrelid = r.oid
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
    FROM rel r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT 'trigger', format('%s.%s', r.oid::regclass, t.tgname),
           format('%s %s', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 'rule', format('%s.%s', r.oid::regclass, w.rulename), pg_get_ruledef(w.oid)
    FROM rel r JOIN pg_rewrite w ON w.ev_class = r.oid
    UNION ALL
    SELECT 'policy', format('%s.%s', r.oid::regclass, p.polname),
           format('%s %s %s %s', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                  pg_get_expr(p.polwithcheck, p.polrelid))
    FROM rel r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'sequence', r.oid::regclass::text,
           format('%s %s %s %s %s %s', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax,
                  s.seqmin, s.seqcycle)
    FROM rel r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT 'event trigger', evtname,
           format('%s %s %s %s', evtevent, evtfoid::regprocedure, evtenabled, evttags)
    FROM member m
    JOIN pg_event_trigger t ON t.oid = m.objid AND m.classid = 'pg_event_trigger'::regclass
    UNION ALL
    SELECT 'dumped', c::regclass::text, w
    FROM pg_extension e, unnest(e.extconfig, e.extcondition) u (c, w) WHERE e.extname = 'cozi'
    UNION ALL
    SELECT 'extension', extname,
           format('schema %s, relocatable %s, version %s', extnamespace::regnamespace,
                  extrelocatable, extversion)
    FROM pg_extension WHERE extname = 'cozi'
)
SELECT line
FROM (SELECT format('%s %s: %s', kind, object, regexp_replace(coalesce(what, '-'), '\s+', ' ', 'g'))
      FROM said) l (line)
ORDER BY line COLLATE "C";
