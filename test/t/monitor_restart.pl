# What the server's end leaves of latencies, errors and plans: all of them when
# it was shut down, none when it was not, and never anything half or stale.

use strict;
use warnings;
use File::Copy;
use FindBin;
use lib $FindBin::Bin;
use House;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $node = Warm->new('restart');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
autovacuum = off
restart_after_crash = on
cozi.max_statements = 1000
END
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
my $dir = $node->data_dir . '/pg_stat';
my $file = "$dir/cozi.stat";

# All that is kept of 44 statements, an error and a plan.
sub figures
{
	return $q->(
		"SELECT l.calls, l.p50_ms, l.max_ms, l.total_ms, l.stats_since, s.stats_since,
		s.reset_reason, s.plans, p.plan,
			(SELECT count FROM cozi.errors() WHERE sqlstate = '22012'), (SELECT sum(calls) >= 44
				FROM cozi.transaction_latency())
		FROM cozi.latency() l, cozi.latency_stats() s, cozi.plans() p WHERE l.calls = 44
			AND p.query LIKE '%kept%'"
	);
}

sub fill
{
	$q->('SELECT cozi.latency_reset()');
	$q->('SELECT pg_sleep(0.001);' x 44);
	$q->('SET cozi.slow_plan_ms = 0; SELECT 1 AS kept');
	$node->psql('postgres', 'SELECT 1 / 0');
	my $figures = figures();
	like($figures, qr/^44\|.*\|reset\|1\|Result.*\|1\|t\z/, 'something to keep') or die;
	return $figures;
}

sub reason { return $q->('SELECT reset_reason FROM cozi.latency_stats()'); }

# The server was not shut down: nothing is left, and it says why.
sub is_reset
{
	my ($why, $what) = @_;
	is(reason(), $why, $what);
	is( $q->(
			"SELECT (SELECT count(*) FROM cozi.latency() WHERE calls = 44), (SELECT count(*)
				FROM cozi.errors() WHERE sqlstate = '22012'), (SELECT count(*) FROM cozi.plans())"
		),
		'0|0|0',
		'... nothing of before is left');
	is( $q->(
			'SELECT stats_since >= pg_postmaster_start_time() - interval \'5 s\'
				FROM cozi.latency_stats()'
		),
		't',
		'... and it says since when');
	ok(!-e $file, '... and there is no file');
	return;
}

sub log_since
{
	my ($offset) = @_;
	return substr slurp_file($node->logfile), $offset;
}

# A server whose postmaster was killed can start when all its children are gone.
sub start_again
{
	for (1 .. 100)
	{
		return if $node->start(fail_ok => 1);
		select(undef, undef, undef, 0.1);
		$node->stop('fast', fail_ok => 1);
	}
	die 'the server does not start';
}

# Shut down

my $before = fill();
for my $mode ('fast', 'smart')
{
	$node->stop($mode);
	ok(-s $file && !-e "$file.tmp", "a $mode shutdown leaves the file");
	$node->start;
	is(figures(), $before, '... and the next start has everything');
	ok(!-e $file, '... and takes the file away');
}
$node->stop;
IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
	'<', \"CHECKPOINT\n", '>', '/dev/null', '2>', '/dev/null');
$node->start;
is(figures(), $before, 'a single-user session in between changes nothing');

# a start that fails gives back what it read
$node->stop;
my $hba = $node->data_dir . '/pg_hba.conf';
move($hba, "$hba.good");
append_to_file($hba, "nonsense\n");
ok(!$node->start(fail_ok => 1), 'a start that fails');
move("$hba.good", $hba);
$node->start;
is(figures(), $before, '... forgets nothing');

# Not shut down

$node->stop;
copy($file, "$file.old");
$node->start;
$node->stop('immediate');
ok(!-e $file, 'an immediate shutdown leaves no file');
$node->start;
is_reset('crash', 'an immediate shutdown resets');

fill();
$node->kill9;
start_again();
is_reset('crash', 'the end of the postmaster resets');

fill();
$node->kill9;
copy("$file.old", $file);
start_again();
is_reset('crash', 'a crash resets although an older file is found');

fill();
my $victim = House::session($node, 'postgres', on_error_stop => 0);
kill 'KILL', $victim->query_safe('SELECT pg_backend_pid()');
eval { $victim->quit };
$node->cool;    # all sessions ended with it
House::poll_through_crash($node, "SELECT reset_reason = 'crash' FROM cozi.latency_stats()") or die;
is_reset('crash', 'a crash of a session resets');

# The file

$before = fill();
for my $size (2000, 500)
{
	$node->adjust_conf('postgresql.conf', 'cozi.max_statements', $size);
	$node->restart;
	is(figures(), $before, "cozi.max_statements = $size keeps everything");
	is($q->('SELECT max_statements, statements_dropped FROM cozi.latency_stats()'),
		"$size|0", '... in its room');
}
$node->adjust_conf('postgresql.conf', 'cozi.max_statements', 100);
$q->(join '', map { 'SELECT ' . join(', ', (1) x $_) . ';' } 1 .. 200);
$node->restart;
is( $q->(
		'SELECT statements + statements_dropped >= 200, statements <= 100, reset_reason,
		(SELECT count(*) FROM cozi.plans()) FROM cozi.latency_stats()'
	),
	't|t|reset|1',
	'what finds no room in a smaller one is counted as dropped');
$node->adjust_conf('postgresql.conf', 'cozi.max_statements', 1000);
$node->restart;

my $size;
my %damage = (
	'empty' => sub { truncate $file, 0 },
	'of a header only' => sub { truncate $file, 88 },
	'cut' => sub { truncate $file, 5000 },
	'a byte short' => sub { truncate $file, $size - 1 },
	'of another version' => sub { flip(0) },
	'with a wrong number of statements' => sub { flip(40) },
	'with a wrong counter' => sub { flip(300) },
	'with a wrong plan' => sub { flip($size - 100_000) },
	'with a wrong checksum' => sub { flip($size - 1) },
	'of an earlier shutdown' => sub { copy("$file.old", $file) });

sub flip
{
	my ($offset) = @_;
	open my $fh, '+<:raw', $file or die $!;
	seek $fh, $offset, 0;
	read $fh, my $byte, 1;
	seek $fh, $offset, 0;
	print $fh chr(ord($byte) ^ 1);
	close $fh;
	return;
}

for my $damage (sort keys %damage)
{
	fill();
	$node->stop;
	$size = -s $file;
	my $offset = -s $node->logfile;
	$damage{$damage}->();
	$node->start;
	like(
		log_since($offset),
		qr/LOG:\ \ ignoring\ file\ "pg_stat\/cozi\.stat":
			\ it\ is\ damaged,\ of\ an\ earlier\ shutdown\ or\ of\ another\ version/x,
		"a file $damage is not believed");
	is_reset('version', '... and it says so');
}

# A directory that cannot be written

$before = fill();
my $offset = -s $node->logfile;
chmod 0500, $dir;
$node->stop;
like(
	log_since($offset),
	qr/LOG:  could not write file "pg_stat\/cozi\.stat\.tmp": Permission denied/,
	'what cannot be saved is said');
$node->start;
is_reset('start', '... and missed');
chmod 0700, $dir;

$before = fill();
$node->stop;
$offset = -s $node->logfile;
chmod 0500, $dir;
$node->start;
is(figures(), $before, 'a file that cannot be removed is read');
like(
	log_since($offset),
	qr/LOG:  could not remove file "pg_stat\/cozi\.stat": Permission denied/,
	'... and complained about');
$q->('SELECT pg_sleep(0.001)');
$node->stop;
$node->start;
is(reason(), 'version', '... but not read again, as it lacks what came after');
chmod 0700, $dir;
unlink $file;

SKIP:
{
	skip 'no /dev/full', 1 unless -c '/dev/full';
	fill();
	symlink '/dev/full', "$file.tmp";
	$offset = -s $node->logfile;
	$node->stop;
	like(
		log_since($offset),
		qr/could not write file "pg_stat\/cozi\.stat\.tmp": No space left on device/,
		'a full disk at the end');
	ok(!-l "$file.tmp", '... leaves nothing half');
	$node->start;
	is_reset('start', '... and nothing');
}
$node->stop;

done_testing();
