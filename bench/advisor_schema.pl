# Advice for a schema of 20,000 tables, of which 2,000 have policies, in a session
# that has read none of the catalog: within 20 s of CPU.  Beside it pg_dump -s of
# the same schema, which a linter outside would read first.
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

sub cpu
{
	my ($session) = @_;
	my ($stat) = $session->selectrow_array(q{SELECT pg_read_file('/proc/self/stat')});
	my @field = split ' ', $stat =~ s/^.*\) //sr;
	return ($field[11] + $field[12]) / 100;
}

Bench::title("$tables tables, " . int($tables / 10) . ' policies');
foreach my $view (qw(advice policy_advisor))
{
	my $new = Bench::connect();
	my ($t, $c) = (time, cpu($new));
	$new->selectall_arrayref("SELECT * FROM cozi.$view");
	my ($s, $cpu) = (time - $t, cpu($new) - $c);
	printf "%-44s %.1f s, of CPU %.1f s; at most 20 s: %s\n", "cozi.$view", $s, $cpu,
	  $cpu <= 20 ? 'yes' : 'NO';
	$new->disconnect;
}
Bench::pair(
	'advice',
	runs => 3,
	new => [ 'advice', sub { $dbh->selectall_arrayref('SELECT * FROM cozi.advice'); return } ],
	old => [ 'pg_dump -s', sub { system('pg_dump -s -f /dev/null') == 0 or die; return } ]);
$dbh->disconnect;
