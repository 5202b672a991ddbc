# Advice for a schema of 20,000 tables, of which 2,000 have policies: each advisor
# in a session that has read none of the catalog, within 20 s of CPU.  Beside them
# pg_dump -s of the same schema, which a linter outside would read first.
# conf: max_locks_per_transaction = 1024
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my $tables = $ENV{BENCH_TABLES} || 20_000;
my $dbh = Bench::connect();
$dbh->do('SET client_min_messages = error');
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE EXTENSION pg_stat_statements');
$dbh->do('CREATE ROLE anon; CREATE ROLE authenticated; CREATE SCHEMA many;
	GRANT USAGE ON SCHEMA many TO anon, authenticated');
$dbh->do(q{CREATE PROCEDURE make(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			EXECUTE format('CREATE TABLE many.t%s (id bigint PRIMARY KEY, author uuid NOT NULL,
				email text, body text, created_at timestamptz)', i);
			IF i % 10 = 0 THEN
				EXECUTE format('ALTER TABLE many.t%1$s ENABLE ROW LEVEL SECURITY;
					CREATE INDEX ON many.t%1$s (author);
					CREATE POLICY own ON many.t%1$s TO authenticated
						USING (author = cozi.uid());
					GRANT SELECT, INSERT, UPDATE, DELETE ON many.t%1$s TO authenticated', i);
			END IF;
			IF i % 200 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$});
$dbh->do("CALL make($tables)");
$dbh->do('ANALYZE');

Bench::title("$tables tables, " . int($tables / 10) . ' policies');
foreach my $view (qw(advice policy_advisor index_usage duplicate_indexes missing_fk_indexes
	missing_indexes invalid_objects sequence_usage tables_without_key bloat table_growth
	settings_advisor))
{
	my $new = Bench::connect();
	$new->do('SET client_min_messages = error');
	my ($t, $c) = (time, Bench::cpu($new) / 1000);
	$new->selectall_arrayref("SELECT * FROM cozi.$view");
	my ($s, $cpu) = (time - $t, Bench::cpu($new) / 1000 - $c);
	printf "%-44s %.1f s, of CPU %.1f s, %.0f MB of memory; at most 20 s: %s\n", "cozi.$view",
	  $s, $cpu, Bench::memory($new), $cpu <= 20 ? 'yes' : 'NO';
	$new->disconnect;
}
Bench::pair(
	'advice',
	runs => 3,
	new => [ 'advice', sub { $dbh->selectall_arrayref('SELECT * FROM cozi.advice'); return } ],
	old => [ 'pg_dump -s', sub { system('pg_dump -s -f /dev/null') == 0 or die; return } ]);
$dbh->disconnect;
