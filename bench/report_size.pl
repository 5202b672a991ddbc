# The page and the metrics of a large server: 5,000 statements in two windows, and
# 20,000 tables.  What they take of time and memory, and how large they are.
# conf: pg_stat_statements.max = 10000
# conf: shared_preload_libraries = 'pg_stat_statements,cozi'
# conf: cozi.max_statements = 10000
# conf: max_locks_per_transaction = 256
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my $dbh = Bench::connect();
$dbh->do('SET client_min_messages = error');
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE EXTENSION pg_stat_statements');
foreach my $thousand (0 .. 19)
{
	$dbh->do(
		"DO \$\$ BEGIN
		FOR g IN 1 .. 1000 LOOP
			EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text, b int)',
			               1000 * $thousand + g);
		END LOOP; END \$\$");
}
$dbh->do('SELECT cozi.snapshot()');
foreach my $window (1 .. 2)
{
	$dbh->do("SELECT count(*) FROM t$_") foreach 1 .. 4900;
	$dbh->do('SELECT cozi.snapshot()');
}
my ($statements) = $dbh->selectrow_array('SELECT count(*) FROM pg_stat_statements');
my ($tables) = $dbh->selectrow_array(q{SELECT count(*) FROM pg_class WHERE relkind = 'r'});
my ($second) = $dbh->selectrow_array(
	'SELECT max(taken_at) FROM cozi.snapshots
	WHERE snapshot < (SELECT max(snapshot) FROM cozi.snapshots)');
$dbh->do('VACUUM ANALYZE');

# In a session of its own: how long, how large, and how much of its memory is its own.
sub measure
{
	my ($call) = @_;
	my $new = Bench::connect();
	$new->do('SET client_min_messages = error');
	my ($t, $c) = (time, Bench::cpu($new) / 1000);
	my ($bytes) = $new->selectrow_array("SELECT octet_length($call)");
	my @used = (time - $t, Bench::cpu($new) / 1000 - $c, Bench::memory($new), $bytes / 1024);
	$new->disconnect;
	return @used;
}

Bench::title("$statements statements, $tables tables");
foreach my $call (
	'cozi.report_html()', "cozi.report_html('$second')",
	"cozi.report_diff('-infinity', '$second')", 'cozi.openmetrics()')
{
	my ($s, $cpu, $mb, $kb) = measure($call);
	my $within = $cpu <= 30 && $mb <= 200 && $kb <= 200;
	printf "%-44s %.1f s, of CPU %.1f s, %.0f MB of memory, %.0f kB; "
	  . "at most 30 s, 200 MB, 200 kB: %s\n",
	  $call =~ s/\d{4}-[^']*/\.\.\./r, $s, $cpu, $mb, $kb, $within ? 'yes' : 'NO';
}
$dbh->disconnect;
