# next_id under eight sessions at once: through an immediate restart, with a
# clock that steps back, on a standby and after its promotion.
use strict;
use warnings;
use IPC::Run qw(start finish);
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sessions = 8;
my $each = $ENV{COZI_LONG} ? 500_000 : 9_000;

# The servers take their time from this file: "+0", "-5" seconds, "-1h".
my ($faketime) = glob('/usr/lib/*/faketime/libfaketime.so.1');
ok($faketime, 'libfaketime is installed') or BAIL_OUT('install libfaketime');
my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
sub set_clock { open(my $f, '>', $clock) or die $!; print $f "$_[0]\n"; close $f; return; }
set_clock('+0');
my %faked = (
	LD_PRELOAD => $faketime,
	FAKETIME_TIMESTAMP_FILE => $clock,
	FAKETIME_NO_CACHE => 1,
	FAKETIME_DONT_FAKE_MONOTONIC => 1);
sub start_faked { my $node = shift; local %ENV = (%ENV, %faked); $node->start; return; }

my $node = House::server('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 40\nmax_wal_size = '4GB'");
start_faked($node);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE SEQUENCE s;
	CREATE TABLE ids (phase int, session int, id bigint, pos bigint GENERATED ALWAYS AS IDENTITY);
	CREATE PROCEDURE draw(phase int, session int, n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 0 .. n - 1 BY 1000 LOOP
			INSERT INTO ids SELECT phase, session, cozi.next_id('s', session)
				FROM generate_series(1, least(1000, n - i)) g;
			COMMIT;
		END LOOP;
	END $$;
});

# Eight sessions run these commands; meanwhile, what the caller likes to do.
# $_ in a command is the number of the session.
sub draw
{
	my ($phase, $commands, $meanwhile) = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/draw_$phase.sql";
	append_to_file($script, join '', map { s/\$_/:client_id + 1/r . ";\n" } @$commands);
	my $running = start(
		[
			'pgbench', '-n', '-c', $sessions, '-j', '2', '-t', '1', '-f', $script,
			$node->connstr('postgres')
		],
		'<', \undef, '>', '/dev/null', '2>', '/dev/null');
	$meanwhile->() if $meanwhile;
	finish($running);
	return $node->safe_psql('postgres', "SELECT count(*) FROM ids WHERE phase = $phase");
}

my $began = time;
my $third = int($each / 3) + 1;
is(draw(1, ["CALL draw(1, \$_, $third)"]), $sessions * $third, 'eight sessions draw at once');

# The server is lost while all draw without end.  It comes up with its clock
# behind, so that nothing but the sequence's own WAL keeps the next ids from
# repeating.
my $before = draw(
	2,
	['CALL draw(2, $_, 1000000000)'],
	sub {
		$node->poll_query_until('postgres',
			"SELECT count(DISTINCT session) = $sessions FROM ids WHERE phase = 2");
		$node->stop('immediate');
		set_clock('-5');
		start_faked($node);
	});
cmp_ok($before, '>', 0, 'an immediate stop came while eight sessions drew');
cmp_ok($node->safe_psql('postgres', "SELECT extract(epoch FROM clock_timestamp())"),
	'<', time - 3, 'the clock is behind');
is(draw(3, ["CALL draw(3, \$_, $third)"]), $sessions * $third,
	'after the restart, the clock five seconds behind');

# An hour back, in the middle of a session's life: ids go on, a few a
# millisecond.  Every session waits at a lock while the clock steps.
my $few = $each / 100;
my $gate = House::session($node, 'postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
is( draw(
		4,
		[
			"CALL draw(4, \$_, $few / 2)", 'SELECT pg_advisory_lock_shared(1)',
			"CALL draw(4, \$_, $few / 2)"
		],
		sub {
			$node->poll_query_until('postgres', "SELECT count(*) = $sessions FROM pg_locks
				WHERE locktype = 'advisory' AND NOT granted");
			set_clock('-1h');
			$gate->quit;
		}),
	$sessions * $few,
	'ids are unique while the clock steps back by an hour');
is(draw(5, ["CALL draw(5, \$_, $few)"]), $sessions * $few,
	'ids are unique while the clock stays an hour behind');
cmp_ok(
	$node->safe_psql(
		'postgres',
		q{SELECT extract(epoch FROM cozi.id_time(max(id)) - clock_timestamp()) FROM ids}),
	'>',
	3600 - (time - $began) - 1,
	'ids go on from where they were, ahead of that clock');
set_clock('+0');
my $right = time;
is(draw(6, ["CALL draw(6, \$_, $third)"]), $sessions * $third, 'the clock is right again');
is( $node->safe_psql(
		'postgres', qq{
	SELECT cozi.id_time(max(id)) BETWEEN to_timestamp($right)
		AND clock_timestamp() + interval '10 s' FROM ids}
	),
	't',
	'the time in the ids is right again');

my $verdict = q{
	SELECT count(*) - count(DISTINCT id), count(*) FILTER (WHERE id <= before_in_session),
	       count(*) FILTER (WHERE cozi.id_bucket(id) <> session)
	FROM (SELECT *, lag(id) OVER (PARTITION BY session ORDER BY pos) AS before_in_session
		FROM ids) i};
is($node->safe_psql('postgres', $verdict),
	'0|0|0', 'no duplicate, no order violation in a session, no wrong bucket');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM
		(SELECT phase, min(id) AS lo, lag(max(id)) OVER (ORDER BY phase) AS hi FROM ids
			GROUP BY phase) p WHERE lo <= hi}
	),
	'0',
	'every later phase is greater than the one before');

# Values logged before a checkpoint are not known to the replay that begins
# with it: the first id after one has to be logged again.
set_clock('-1h');
$node->safe_psql(
	'postgres', q{
	INSERT INTO ids VALUES (7, 1, cozi.next_id('s', 1));
	CHECKPOINT;
	INSERT INTO ids SELECT 7, 1, cozi.next_id('s', 1) FROM generate_series(2, 10)});
$node->stop('immediate');
start_faked($node);
is($node->safe_psql('postgres', q{SELECT cozi.next_id('s') > max(id) FROM ids}),
	't', 'a restart after a checkpoint repeats nothing');
set_clock('+0');

# Nor does every call write WAL of its own.
is( $node->safe_psql(
		'postgres', q{
	CREATE SEQUENCE w;
	SELECT cozi.next_id('w');
	CHECKPOINT;
	SELECT pg_current_wal_insert_lsn() AS lsn \gset
	SELECT count(cozi.next_id('w')) FROM generate_series(1, 100000);
	SELECT pg_current_wal_insert_lsn() - :'lsn' < 100000;
}) =~ /^100000\nt$/m ? 1 : 0,
	1,
	'WAL is written for many values at once');

# A uuid of one session rises although the clock falls.
is( $node->safe_psql(
		'postgres', qq{
	SELECT cozi.uuid7(5) AS a \\gset
	\\! echo -1h >$clock
	SELECT cozi.uuid7(4) AS b \\gset
	\\! echo +0 >$clock
	SELECT :'a'::uuid < :'b'::uuid AND :'b'::uuid < cozi.uuid7(0)}),
	't',
	'uuid7 rises in a session whose clock steps back');

# A standby makes no ids; promoted with a slow clock, it goes on above the primary's.
$node->backup('b');
my $standby = House::server('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
start_faked($standby);
$node->safe_psql('postgres', "CALL draw(8, 1, 1000)");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my ($status, $out, $err) =
  $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT cozi.next_id('s')");
is($err, 'psql:<stdin>:2: ERROR:  25006', 'a standby is read-only');
set_clock('-1h');
$node->stop('immediate');
$standby->promote;
is($standby->safe_psql('postgres', "SELECT cozi.next_id('s') > max(id) FROM ids"),
	't', 'promoted with a slow clock, it repeats nothing');
$standby->stop('immediate');

done_testing();
