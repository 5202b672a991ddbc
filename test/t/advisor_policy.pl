
# policy_advisor on the golden schema: each case is found, and nothing else;
# each fix ends its finding; the ten defects that text matches miss are found.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Advisor;
use House;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Advisor::golden('advisor_policy');

is( House::difference(Advisor::expected($node, 'golden'), Advisor::found($node, 'golden')),
	'', 'the golden schema has the findings that its comments say, and no others');
cmp_ok($node->safe_psql('golden', q{SELECT count(*) FROM pg_class
	WHERE relnamespace IN ('good'::regnamespace, 'bad'::regnamespace)
	AND relkind IN ('r', 'p', 'v', 'm', 'f')}),
	'>=', 60, 'the golden schema has sixty relations');
is( $node->safe_psql('golden', q{SELECT code, substring(evidence FROM '[a-z]+\.[a-z_]+\(')
	FROM cozi.policy_advisor WHERE code ~ '^(definer|identity_immutable|leakproof)' ORDER BY 1, 2}),
	join("\n", 'definer_function_exposed|bad.all_bodies(', 'definer_search_path|bad.by_path(',
		'identity_immutable|bad.frozen(', 'identity_immutable|bad.frozen_deep(',
		'leakproof_untrue|bad.tight(', 'leakproof_untrue|bad.tight_too('),
	'functions are found by what their bodies call, not by their text');
is( $node->safe_psql('golden', q{SELECT DISTINCT level FROM cozi.policy_advisor
	WHERE level NOT IN ('error', 'warn', 'info')}), '', 'a level is error, warn or info');
is( $node->safe_psql('golden', q{SELECT string_agg(DISTINCT code, ' ') FROM cozi.policy_advisor
	WHERE fix_sql ~* 'DROP POLICY|(?<!NOT )LEAKPROOF'}),
	'', 'no fix drops a policy or marks a function LEAKPROOF');

is( $node->safe_psql('golden', q{SELECT level, policy FROM cozi.policy_advisor
	WHERE code = 'storage_lists_bucket' ORDER BY 2}), "info|bad all\ninfo|bad bucket",
	'a policy that looks at the bucket alone lists it, and no other');
is( $node->safe_psql('golden', q{SELECT level, relation, fix_sql FROM cozi.policy_advisor
	WHERE code = 'sensitive_column_exposed' ORDER BY 2}),
	join("\n", 'info|bad.emails|REVOKE SELECT ON bad.emails FROM anon',
		'error|bad.credentials|REVOKE SELECT ON bad.credentials FROM anon; '
		. 'GRANT SELECT (id, nick) ON bad.credentials TO anon; '
		. 'REVOKE SELECT ON bad.credentials FROM authenticated; '
		. 'GRANT SELECT (id, nick) ON bad.credentials TO authenticated',
		'warn|bad.payments|REVOKE SELECT ON bad.payments FROM authenticated; '
		. 'GRANT SELECT (amount) ON bad.payments TO authenticated',
		'info|bad.contacts|', 'error|bad.directory|REVOKE SELECT ON bad.directory FROM anon; '
		. 'GRANT SELECT (id) ON bad.directory TO anon'),
	'what a column holds says how grave it is, and the fix leaves the others');

# Who reads it, and how
my $all = $node->safe_psql('golden', 'SELECT * FROM cozi.policy_advisor');
$node->safe_psql('golden', q{CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA cozi TO plain});
is( $node->safe_psql('golden', 'SELECT * FROM cozi.policy_advisor',
		extra_params => [ '-U', 'monitor' ]), $all,
	'a member of pg_monitor reads what a superuser reads');
my (undef, undef, $refused) = $node->psql('golden', 'SELECT * FROM cozi.policy_advisor',
	extra_params => [ '-U', 'plain' ]);
like($refused, qr/permission denied for view policy_advisor/,
	'a role without a grant reads nothing');
is( $node->safe_psql('golden', 'BEGIN READ ONLY; SELECT * FROM cozi.policy_advisor; COMMIT'),
	$all, 'a read-only transaction gives the same findings');
my $statements = q{SELECT string_agg(fix_sql, ';' ORDER BY fix_sql COLLATE "C")
	FROM cozi.policy_advisor};
is( $node->safe_psql('golden', "SET search_path = bad, good, auth; $statements"),
	$node->safe_psql('golden', "SET search_path = ''; $statements"),
	'the statements do not depend on the search path of the reader');
is( $node->safe_psql('golden', q{BEGIN; SELECT FROM cozi.policy_advisor;
	SELECT DISTINCT mode FROM pg_locks
	WHERE pid = pg_backend_pid() AND locktype = 'relation'; COMMIT}) =~ s/^\n*//r,
	'AccessShareLock', 'no lock is stronger than ACCESS SHARE');

# Nothing is waited for: every table is locked, and the findings are the same
# but for the statements that need a table's columns.
my $locker = House::session($node, 'golden');
if ($locker)
{
	$locker->query_safe(q{BEGIN; DO $$ DECLARE t regclass; BEGIN FOR t IN
		SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')
		AND relnamespace IN ('good'::regnamespace, 'bad'::regnamespace)
		LOOP EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t); END LOOP; END $$});
	my $count = 'SELECT count(*) FROM cozi.policy_advisor';
	is( $node->safe_psql('golden', "SET lock_timeout = 1; $count"),
		$node->safe_psql('golden', $count),
		'tables that another session has locked are judged without waiting');
	$locker->query_safe('ROLLBACK');
	$locker->quit;
}

# A plan of the same condition, asked once
$node->safe_psql('golden', q{
	INSERT INTO bad.per_row SELECT g, md5((g % 3)::text)::uuid FROM generate_series(1, 30) g;
	GRANT SELECT ON bad.per_row TO authenticated});
my $as_user = q{BEGIN;
	SELECT set_config('request.jwt.claim.sub', md5('1')::uuid::text, true) \g /dev/null
	SET LOCAL ROLE authenticated; SELECT count(*) FROM bad.per_row; COMMIT};
my $rows = $node->safe_psql('golden', $as_user);
is($rows, '10', 'the policy with a call for each row shows ten rows');

# Each fix ends its finding.  A round runs one fix a relation, because a fix
# may change the policy that the next one is about.
my $findings = q{SELECT concat_ws('|', code, relation::text, policy, role, md5(evidence))
	|| E'\t' || fix_sql FROM cozi.policy_advisor WHERE fix_sql IS NOT NULL};
my $round = $findings =~ s/SELECT/SELECT DISTINCT ON (coalesce(relation::text, fix_sql))/r
  . ' ORDER BY coalesce(relation::text, fix_sql), code';
my $policies = $node->safe_psql('golden', 'SELECT count(*) FROM pg_policy');
my (%fixed, $n);
for (1 .. 8)
{
	my @fixes = split /\n/, $node->safe_psql('golden', $round);
	last if !@fixes;
	foreach (@fixes)
	{
		my ($key, $sql) = split /\t/;
		my (undef, undef, $err) = $node->psql('golden', $sql, on_error_stop => 1);
		is($err, '', "the fix runs: $sql");
		$n++;
		$fixed{$key} = $sql;
	}
	my %left = map { (split /\t/)[0] => 1 } split /\n/, $node->safe_psql('golden', $findings);
	is(join("\n", map { "$_: $fixed{$_}" } grep { $left{$_} } sort keys %fixed),
		'', "the findings of round $_ are gone once fixed");
}
cmp_ok($n, '>=', 25, "$n fixes ran");
is($node->safe_psql('golden', $findings), '', 'no fix brings another that has a fix');
is($node->safe_psql('golden', $as_user), $rows, 'the policy that asks once shows the same rows');
is($node->safe_psql('golden', 'SELECT count(*) FROM pg_policy'), $policies + 1,
	'no policy is lost, and one is new');

# Ten defects, each on a table of its own
$node->safe_psql('postgres', 'CREATE DATABASE planted');
$node->safe_psql('planted', 'CREATE EXTENSION cozi');
my @planted = (
	[ 'a partition without row-level security', 'p1_1' ],
	[ 'a call wrapped wrongly', 'p2' ],
	[ 'one wrapped call beside one that is not', 'p3' ],
	[ 'a helper of the user that asks auth.uid()', 'p4' ],
	[ 'a partitioned table without row-level security', 'p5' ],
	[ 'a condition that is true', 'p6' ],
	[ 'a check of a column against itself', 'p7' ],
	[ 'a condition that each who is signed in passes', 'p8' ],
	[ 'TRUNCATE granted to a role of the API', 'p9' ],
	[ 'a flag of the policy that the user may set', 'p10' ]);
$node->safe_psql('planted', slurp_file("$FindBin::Bin/advisor_planted.sql"));
my %found = map { $_ => 1 } split /\n/, $node->safe_psql('planted',
	q{SELECT DISTINCT relation FROM cozi.policy_advisor WHERE level IN ('error', 'warn')});
ok($found{ $_->[1] }, "found: $_->[0]") foreach @planted;
delete $found{ $_->[1] } foreach @planted;
is(join(' ', sort keys %found), '', 'nothing beside the ten is found');

$node->stop;
done_testing();
