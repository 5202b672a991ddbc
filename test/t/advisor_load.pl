
# Advice from the load: indexes that slow statements ask for, what a fix saves,
# what an index would change, and how tables grow.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('advisor_load');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'pg_stat_statements, cozi'
	autovacuum = off
	jit = off});
$node->start;
sub query { return $node->safe_psql('postgres', @_); }

sub psql
{
	my ($sql, @params) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $sql, extra_params => \@params);
	return "$out$err";
}

# Without pg_stat_statements
query('CREATE EXTENSION cozi');
like(psql('SELECT * FROM cozi.missing_indexes'), qr/WARNING:.*pg_stat_statements/,
	'missing_indexes says that nothing is known without pg_stat_statements');
is(psql('SELECT count(*) FROM cozi.advice WHERE ms_per_day IS NOT NULL'), '0',
	'advice without pg_stat_statements has no times, and no warning');

query(q{
	CREATE EXTENSION pg_stat_statements;
	CREATE SCHEMA "My Shop";
	CREATE SCHEMA twin;
	CREATE TABLE "My Shop"."The Posts" (id bigint PRIMARY KEY, author int NOT NULL,
		"Status" text NOT NULL, title text NOT NULL, tags text[] NOT NULL, data jsonb NOT NULL,
		deleted_at timestamptz, created_at timestamptz NOT NULL, hidden boolean NOT NULL);
	INSERT INTO "My Shop"."The Posts" SELECT g, g % 2000, (ARRAY['a','b','c'])[1 + g % 3],
		'Title ' || g, ARRAY['t' || g % 3000], jsonb_build_object('k', g),
		CASE WHEN g % 10 > 0 THEN now() END, now() - g * interval '1 min', g % 2 = 0
	FROM generate_series(1, 30000) g;
	CREATE TABLE queue (id bigint PRIMARY KEY, kind int NOT NULL, done_at timestamptz,
		filler text NOT NULL);
	INSERT INTO queue SELECT g, g % 4000, CASE WHEN g % 10 > 0 THEN now() END, repeat('x', 100)
	FROM generate_series(1, 20000) g;
	CREATE TABLE small (id int PRIMARY KEY, x int);
	INSERT INTO small SELECT g, g FROM generate_series(1, 500) g;
	CREATE TABLE tree (k int NOT NULL, v int NOT NULL, w int) PARTITION BY HASH (k);
	CREATE TABLE tree_1 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE tree_2 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	INSERT INTO tree SELECT g, g % 3000, g FROM generate_series(1, 40000) g;
	CREATE TABLE served (id int PRIMARY KEY, a int, b int);
	INSERT INTO served SELECT g, g % 3000, g % 7 FROM generate_series(1, 40000) g;
	CREATE INDEX ON served (a);
	CREATE TABLE twin.same (id int PRIMARY KEY, x int);
	CREATE TABLE same (id int PRIMARY KEY, x int);
	INSERT INTO same SELECT g, g FROM generate_series(1, 40000) g;
	CREATE SEQUENCE planned;
	CREATE FUNCTION spy(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM nextval('planned'); RETURN i; END $$;
	VACUUM ANALYZE});
query('SELECT pg_stat_statements_reset()');

# What the statements ask, and what is to be found
my @asked = (
	[ q{SELECT * FROM "My Shop"."The Posts" p WHERE p.author = 5 ORDER BY p.created_at DESC
		LIMIT 10},
		'"My Shop"."The Posts"|btree|author, created_at' ],
	[ q{SELECT id FROM "The Posts" WHERE author = 6 AND "Status" = 'a' AND deleted_at IS NOT NULL},
		'' ],
	[ q{SELECT * FROM "The Posts" WHERE lower(title) = 'title 9'},
		'"My Shop"."The Posts"|btree|lower(title)' ],
	[ q{SELECT * FROM "The Posts" WHERE tags @> ARRAY['t5']}, '"My Shop"."The Posts"|gin|tags' ],
	[ q{SELECT * FROM "The Posts" WHERE data @> '{"k": 3}'}, '"My Shop"."The Posts"|gin|data' ],
	[ q{SELECT count(*) FROM "The Posts" WHERE "Status" = 'a'}, '' ],
	[ q{SELECT count(*) FROM "The Posts" WHERE hidden}, '' ],
	[ q{SELECT * FROM "The Posts" WHERE created_at > now() - interval '1 hour'
		ORDER BY created_at LIMIT 3}, '"My Shop"."The Posts"|btree|created_at' ],
	[ q{SELECT * FROM queue WHERE kind = 7 AND done_at IS NULL},
		'queue|btree|kind WHERE done_at IS NULL' ],
	[ q{SELECT * FROM small WHERE x = 3}, '' ],
	[ q{SELECT * FROM tree WHERE v = 3}, 'tree|btree|v' ],
	[ q{WITH gone AS (SELECT 4 AS id) UPDATE tree SET w = 0 FROM gone WHERE v = 5}, '' ],
	[ q{DELETE FROM tree_1 WHERE v = 9}, '' ],
	[ q{SELECT * FROM served WHERE a = 5}, '' ],
	[ q{SELECT * FROM served WHERE b = 5}, '' ],
	[ q{SELECT * FROM same WHERE x = 5}, '' ],
	[ q{WITH served AS (SELECT x AS b FROM same) SELECT * FROM served WHERE b = 5}, '' ],
	[ q{SELECT count(*) FROM served a JOIN same b ON a.b = b.x}, '' ],
	[ q{SELECT * FROM served WHERE id > spy(39000) AND b + 1 = spy(3)}, '' ]);
query("SET search_path = public, \"My Shop\"; $_->[0]") foreach @asked;
my $planned = query('SELECT last_value FROM planned');
my $found = q{SELECT relation, method, definition FROM cozi.missing_indexes ORDER BY 1, 2, 3};
is(query($found), join("\n", sort grep { $_ } map { $_->[1] } @asked),
	'what statements look for without an index is found, and nothing else');
query('SELECT * FROM cozi.advice');
is(query('SELECT last_value FROM planned'), $planned, 'no captured text was planned');
is(query(q{SELECT cardinality(queryids), calls, ms_per_day > 0, evidence ~ 'blocks of public\.tree'
	FROM cozi.missing_indexes WHERE relation = 'tree'::regclass}), '3|3|t|t',
	'statements about a partition and about its tree are one row');
is(query(q{SELECT level, code, object, ms_per_day > 0 FROM cozi.advice
	WHERE object ~ 'tree \('}), 'info|missing_index|public.tree (v)|t',
	'advice lists a missing index with the time of its statements');

# Nobody is waited for
my $locker = House::session($node, 'postgres');
if ($locker)
{
	$locker->query_safe('BEGIN; LOCK TABLE "My Shop"."The Posts", tree, tree_1, tree_2, queue
		IN ACCESS EXCLUSIVE MODE');
	is(query("SET lock_timeout = 1; $found"), query($found),
		'tables that another session has locked are judged without waiting');
	$locker->query_safe('ROLLBACK');
	$locker->quit;
}
like(query(q{BEGIN READ ONLY; SELECT count(*) FROM cozi.missing_indexes;
	SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
	COMMIT}), qr/^\d\s+AccessShareLock$/,
	'missing_indexes takes no lock above ACCESS SHARE in a read-only transaction');

# Each fix ends its finding
my $fixes = query('SELECT fix_sql FROM cozi.missing_indexes ORDER BY 1');
foreach (split /\n/, $fixes)
{
	is(psql($_), '', "the fix runs: $_");
}
is(query($found), '', 'no fix leaves its finding');

# Texts that are no SQL, or very much of it
foreach (q{}, 'SELECT', q{SELECT 'a}, '((((', 'SELECT $1 FROM', '$$', "\x{1}",
	'SELECT ' . '(' x 20000)
{
	is(query('SELECT count(*) FROM cozi._statement_predicates($cozi$' . $_ . '$cozi$)'), '0',
		'a text that is no SQL gives no rows: ' . substr($_, 0, 10));
}
is(query(q{SELECT count(*) FROM cozi._statement_predicates('SELECT * FROM t WHERE '
	|| repeat('a = $1 AND ', 20000) || 'b = $1')}), '20002', 'a text of 200 kB is read');

# What a fix saves: the statements about the table
query(q{CREATE ROLE authenticated; GRANT SELECT, DELETE ON served TO authenticated;
	CREATE FUNCTION who() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER
		SET search_path = pg_catalog, pg_temp AS 'SELECT cozi.uid_bigint()::int';
	ALTER TABLE served ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON served TO authenticated USING (a = who());
	CREATE TABLE of_served (id int PRIMARY KEY, served int REFERENCES served);
	CREATE TABLE of_small (id int PRIMARY KEY, small int REFERENCES small)});
query('DELETE FROM served WHERE id = 40000');
is(query(q{SELECT code, ms_per_day > 0 FROM cozi.advice
	WHERE code IN ('policy_per_row_function', 'missing_fk_index', 'table_without_key')
	ORDER BY code, object}),
	"missing_fk_index|t\nmissing_fk_index|\npolicy_per_row_function|t\ntable_without_key|",
	'a finding has the time of the statements that it concerns, or NULL');

# what_if
like(psql("\\set VERBOSITY verbose\nSELECT cozi.what_if('SELECT 1', 'CREATE INDEX ON served (b)')"),
	qr/55000: what_if\(\) needs extension "hypopg".*HINT.*CREATE/s, 'what_if() says what it needs');
SKIP:
{
	skip 'no HypoPG in this server', 1
	  if query(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'}) eq '0';
	query('CREATE SCHEMA "what if"; CREATE EXTENSION hypopg SCHEMA "what if"');
	is(query(q{SELECT cost > 10 * cost_with_index, is_used, index_bytes BETWEEN 300000 AND 3000000,
		plan::text ~ 'btree_queue_kind_id'
		FROM cozi.what_if('SELECT * FROM queue WHERE kind = $1 AND id > $2',
			'CREATE INDEX ON queue (kind, id)')}), 't|t|t|t',
		'what_if() gives what an index would save, without a value for $1');
	is(query(q{SELECT cost = cost_with_index, is_used
		FROM cozi.what_if('SELECT id FROM queue', 'CREATE INDEX ON queue (filler)')}), 't|f',
		'what_if() says that an index would not be used');
	is(query(q{SET plan_cache_mode = force_custom_plan;
		PREPARE mine AS SELECT 1;
		SELECT FROM "what if".hypopg_create_index('CREATE INDEX ON queue (done_at)') \g /dev/null
		SELECT FROM cozi.what_if('SELECT 1 FROM queue', 'CREATE INDEX ON queue (kind)') \g /dev/null
		SELECT count(*), (SELECT string_agg(name, ' ') FROM pg_prepared_statements),
			current_setting('plan_cache_mode') FROM "what if".hypopg()}) =~ s/^\n*//r,
		'1|mine|force_custom_plan', 'what_if() leaves nothing in the session');
	foreach (
		[ q{'SELECT 1; DROP TABLE queue', 'CREATE INDEX ON queue (kind)'},
			qr/22023: argument "query" must be one SELECT/, 'two statements' ],
		[ q{'DROP TABLE queue', 'CREATE INDEX ON queue (kind)'},
			qr/22023: argument "query" must be one SELECT/, 'a command' ],
		[ q{'SELECT * INTO copied FROM queue', 'CREATE INDEX ON queue (kind)'},
			qr/22023: argument "query" must be one SELECT/, 'SELECT INTO' ],
		[ q{'SELECT * FROM queue', 'DROP TABLE queue'},
			qr/22023: argument "index_ddl" must be one CREATE INDEX/, 'another command' ],
		[ q{'SELECT * FROM queue', 'CREATE INDEX ON queue (kind); CREATE INDEX ON queue (id)'},
			qr/22023: argument "index_ddl" must be one CREATE INDEX/, 'two indexes' ],
		[ q{NULL, 'CREATE INDEX ON queue (kind)'}, qr/22004: argument "query" must not be null/,
			'a query that is NULL' ],
		[ q{'SELECT * FROM queue', NULL}, qr/22004: argument "index_ddl" must not be null/,
			'an index that is NULL' ])
	{
		like(psql("\\set VERBOSITY verbose\nSELECT cozi.what_if($_->[0])"), $_->[1],
			"what_if() refuses $_->[2]");
	}
	query(q{CREATE ROLE planner LOGIN IN ROLE pg_monitor;
		GRANT USAGE ON SCHEMA "what if" TO planner});
	like(psql(q{SELECT cozi.what_if('SELECT * FROM queue', 'CREATE INDEX ON queue (kind)')},
			'-U', 'planner'),
		qr/permission denied for table queue/, 'what_if() plans as the caller');
	is(query('SELECT count(*) FROM queue'), '20000', 'what_if() ran nothing');
}

# How tables grow
is(query('SELECT count(*) FROM cozi.table_growth'), '0', 'nothing has grown before two recordings');
query('SELECT cozi.snapshot(); SELECT cozi.snapshot()');
is(query('SELECT count(*) FROM cozi.table_size_blocks'), '1', 'sizes are recorded once an hour');
query(q{UPDATE cozi.table_size_blocks SET taken_at = taken_at - interval '2 days'});
query(q{INSERT INTO tree SELECT g, g % 3000, g FROM generate_series(40001, 80000) g;
	CREATE TABLE new (i int); DROP TABLE small CASCADE});
query('SELECT cozi.snapshot()');
is(query(q{SELECT relation, bytes > 1000000, grown_bytes BETWEEN 1000000 AND 20000000,
	bytes_per_day BETWEEN 0.49 * grown_bytes AND 0.51 * grown_bytes
	FROM cozi.table_growth WHERE grown_bytes <> 0 ORDER BY 1}), 'tree|t|t|t',
	'the tree that grew is one row, with its growth a day');
is(query(q{SELECT count(*) FROM cozi.table_growth WHERE relation::text IN ('new', 'small')}), '0',
	'a table that is new or gone has not grown');
is(query(q{SELECT grown_bytes FROM cozi.table_growth WHERE relation = 'tree'::regclass}),
	query(q{SELECT max(total_bytes) - (
		SELECT b.bytes[array_position(b.relations, 'public.tree')]
		FROM cozi.table_size_blocks b ORDER BY taken_at LIMIT 1)
		FROM cozi.table_sizes WHERE relation = 'tree'::regclass}),
	'the size is that of table_sizes');
query(q{INSERT INTO cozi.table_size_blocks
	SELECT date_trunc('day', now()) - d * interval '1 day' + h * interval '1 hour',
		b.relations, b.bytes, b.rows
	FROM (SELECT * FROM cozi.table_size_blocks ORDER BY taken_at LIMIT 1) b,
		generate_series(3, 100) d, generate_series(1, 5) h;
	UPDATE cozi.table_size_blocks SET taken_at = taken_at - interval '1 hour'
	WHERE taken_at > now() - interval '1 hour'});
query('SELECT cozi.snapshot()');
is(query(q{SELECT max(n), bool_and(taken_at > now() - interval '90 days')
	FROM (SELECT date_trunc('day', taken_at), count(*) AS n, min(taken_at) AS taken_at
		FROM cozi.table_size_blocks WHERE taken_at < now() - interval '2 days 1 minute'
		GROUP BY 1) d}),
	'1|t', 'after two days one recording a day stays, for ninety days');

$node->stop;
done_testing();
