# The monitoring views with 5,000 statements of real length, beside what they
# stand on: the numbers of pg_stat_statements, and its plain view.
# conf: pg_stat_statements.max = 10000
use strict;
use warnings;
use Bench;

my $dbh = Bench::connect();
$dbh->do('SET client_min_messages = error');
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE EXTENSION pg_stat_statements');
$dbh->do('CREATE TABLE t (a int)');

# 13 columns, each added or subtracted: 4,950 shapes of 700 bytes
for my $i (1 .. 4950)
{
	$dbh->do(
		'SELECT ' . join(
			', ',
			map {
					'a '
				  . ($i >> $_ & 1 ? '+' : '-')
				  . " length('lorem ipsum dolor sit amet') AS a_column_of_statement_${i}_$_"
			} 0 .. 12)
		  . ' FROM t');
}
my ($n, $bytes) =
  $dbh->selectrow_array('SELECT count(*), sum(length(query)) FROM pg_stat_statements');

sub all
{
	my ($sql, $db) = @_;
	return sub { ($db || $dbh)->selectall_arrayref($sql); return }
}
my $numbers = all('SELECT * FROM pg_stat_statements(false) ORDER BY mean_exec_time DESC LIMIT 10');
my $plain = all('SELECT * FROM pg_stat_statements ORDER BY mean_exec_time DESC LIMIT 10');
my $ours = all('SELECT * FROM cozi.slow_queries ORDER BY mean_ms DESC LIMIT 10');

# A new session remembers no text, and its first query pays for the catalog:
# a trivial one is run before.
sub fresh
{
	my ($sql) = @_;
	return sub {
		my $new = Bench::connect();
		$new->do('SET client_min_messages = error');
		$new->selectall_arrayref('SELECT * FROM cozi.slow_queries_by_p99 LIMIT 0');
		$new->selectall_arrayref('SELECT count(*) FROM pg_stat_statements(false)');
		my $t = Time::HiRes::time();
		$new->selectall_arrayref($sql);
		my $took = (Time::HiRes::time() - $t) * 1e3;
		$new->disconnect;
		return $took;
	};
}

Bench::title("slow_queries ORDER BY mean_ms DESC LIMIT 10, $n statements, "
	  . int($bytes / 1024)
	  . ' kB of texts, one session');
my $r = Bench::pair(
	'against the numbers alone (a poll)',
	runs => 31,
	new => [ 'slow_queries', $ours ],
	old => [ 'pg_stat_statements(false)', $numbers ]);
printf "%-44s %s\n", '',
  sprintf('slow_queries takes %.2f times as long; at most 1.5: %s',
	1 / $r, 1 / $r <= 1.5 ? 'yes' : 'NO');
$r = Bench::pair(
	'against the numbers alone (first call)',
	runs => 15,
	new =>
	  [ 'slow_queries', fresh('SELECT * FROM cozi.slow_queries ORDER BY mean_ms DESC LIMIT 10') ],
	old => [
		'pg_stat_statements(false)',
		fresh('SELECT * FROM pg_stat_statements(false) ORDER BY mean_exec_time DESC LIMIT 10')
	]);
printf "%-44s %s\n", '',
  sprintf(
	'slow_queries takes %.2f times as long: pg_stat_statements has no way to read 10 texts but all',
	1 / $r);
Bench::pair(
	'against the plain view (a poll)',
	runs => 31,
	new => [ 'slow_queries', $ours ],
	old => [ 'pg_stat_statements', $plain ]);
Bench::pair(
	'all rows, all texts',
	runs => 11,
	new => [ 'slow_queries', all('SELECT * FROM cozi.slow_queries') ],
	old => [ 'pg_stat_statements', all('SELECT * FROM pg_stat_statements') ]);

Bench::title('health, polled, beside its parts');
my $health = all('SELECT * FROM cozi.health');
Bench::pair(
	'query_time since the reset',
	runs => 21,
	new => [ 'health', $health ],
	old => [ 'recent_query_time()', all(q{SELECT * FROM cozi.recent_query_time('15 min')}) ]);
$dbh->do('SELECT cozi.snapshot()');
$dbh->do(q{UPDATE cozi.snapshots SET taken_at = taken_at - interval '20 min'});
$dbh->do('ANALYZE cozi.statement_blocks');
Bench::pair(
	'query_time over a window',
	runs => 21,
	new => [ 'health', $health ],
	old => [ 'recent_query_time()', all(q{SELECT * FROM cozi.recent_query_time('15 min')}) ]);
Bench::pair(
	'the cache',
	runs => 21,
	new => [ 'health', $health ],
	old => [ 'recent_cache_hit()', all(q{SELECT * FROM cozi.recent_cache_hit('15 min')}) ]);
Bench::pair(
	'CPU and memory',
	runs => 21,
	new => [ 'health', $health ],
	old => [ 'os_load()', all('SELECT * FROM cozi.os_load()') ]);
Bench::pair(
	'connections',
	runs => 21,
	new => [ 'health', $health ],
	old => [ 'connections', all('SELECT * FROM cozi.connections') ]);
Bench::pair(
	'a snapshot',
	runs => 7,
	new => [ 'health', $health ],
	old => [ 'snapshot()', all(q{SELECT cozi.snapshot('0')}) ]);
