# notify_throttled(), notify_flush() and announce_changes(), as a listener hears them:
# the last change is always heard, nothing of a transaction that rolled back is, and no
# more than one message in an interval.  First nothing is preloaded, then a worker runs.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = House::server('notify');
$node->init;
$node->append_conf('postgresql.conf',
	"max_prepared_transactions = 5\nfsync = off\nlog_statement = none\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');

my $listener;

sub listen_to
{
	$listener = House::session($node, 'postgres');
	$listener->query_safe("LISTEN $_") foreach @_;
	return;
}

# What was heard since the last call, a line a message: channel and payload.
sub heard
{
	my $out = $listener->query('SELECT');
	return $out =~ /Asynchronous notification "(\w+)"(?: with payload "(.*)")? received/
	  ? [ map { s/^Asynchronous notification "(\w+)"(?: with payload "(.*)")? received.*$/
			$1 . (defined $2 ? " $2" : '')/er } grep { /^Asynchronous/ } split /\n/, $out ]
	  : [];
}

# Hear until a message comes; flush: send what waits, as a gateway does.
sub hear_next
{
	my ($flush) = @_;
	for (1 .. 600)
	{
		$node->safe_psql('postgres', 'SELECT cozi.notify_flush()') if $flush;
		my $heard = heard();
		return join(',', @$heard) if @$heard;
		usleep(50_000);
	}
	return 'nothing';
}

sub heard_now { return join ',', @{ heard() }; }

sub run_sql { return $node->safe_psql($_[1] // 'postgres', $_[0]); }

listen_to(qw(a b c d s hot hot_counts));
run_sql(q{SELECT cozi.notify_throttled('a', 'one', '1 hour')});
is(heard_now(), 'a one', 'the first message of a channel is sent at once');
run_sql(q{SELECT cozi.notify_throttled('a', 'two', '1 hour')});
run_sql(q{SELECT cozi.notify_throttled('b')});
is(heard_now(), 'b', 'a second message waits, and another channel does not wait for it');
is(run_sql('SELECT cozi.notify_flush()'), 0, 'nothing is flushed before its interval is over');
run_sql(q{SELECT cozi.notify_throttled('a', 'three', '1 ms')});
is(heard_now(), 'a three', 'the next call sends, and what waited is not sent after it');

# What waits is sent once, by who flushes, as soon as its interval is over.
run_sql(q{SELECT cozi.notify_throttled('b', 'sent or waiting', '50 ms')});
run_sql(q{SELECT cozi.notify_throttled('b', 'last', '50 ms')});
my $last = '';
for (1 .. 600)
{
	last if $last =~ /b last$/;
	$last .= hear_next(1);
}
like($last, qr/b last$/, 'notify_flush() sends the last message');
is(run_sql('SELECT cozi.notify_flush()'), 0, 'notify_flush() sends it once');
is(heard_now(), '', 'a message is heard once');

# Rollback, of a transaction, to a savepoint, and at the commit itself
run_sql(q{BEGIN; SELECT cozi.notify_throttled('c', 'lost', '1 hour'); ROLLBACK});
run_sql(q{SELECT cozi.notify_throttled('c', 'kept', '1 hour')});
is(heard_now(), 'c kept', 'what was rolled back is neither sent nor counted');
run_sql(q{BEGIN; SELECT cozi.notify_throttled('c', 'lost', '1 ms'); ROLLBACK});
is(run_sql('SELECT cozi.notify_flush()'), 0, 'what was rolled back does not wait');
run_sql(
	q{BEGIN; SELECT cozi.notify_throttled('s', 'outer', '1 ms'); SAVEPOINT x;
	SELECT cozi.notify_throttled('s', 'inner', '1 ms'); ROLLBACK TO x; COMMIT});
is(heard_now(), 's outer', 'a savepoint takes back what was asked for after it');
run_sql(
	q{SELECT pg_sleep(0.002); BEGIN; SELECT cozi.notify_throttled('s', 'outer', '1 ms');
	SAVEPOINT x; SELECT cozi.notify_throttled('s', 'inner', '1 ms'); RELEASE x; COMMIT});
is(heard_now(), 's inner', 'the last call of a transaction counts');
run_sql(
	q{SELECT pg_sleep(0.002);
	DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
		BEGIN PERFORM cozi.notify_throttled('s', i::text, '1 ms');
		EXCEPTION WHEN division_by_zero THEN NULL; END;
	END LOOP; END $$});
is(heard_now(), 's 3000', 'many calls in subtransactions are one message');

# A commit that fails after it was decided who sends
my @racers = map { House::session($node, 'postgres', on_error_stop => 0) } 1, 2;
run_sql('CREATE TABLE skew (n int); INSERT INTO skew VALUES (1), (2)');
foreach my $i (0, 1)
{
	$racers[$i]->query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum(n) FROM skew;');
}
foreach my $i (0, 1)
{
	$racers[$i]->query("INSERT INTO skew VALUES (3);
		SELECT cozi.notify_throttled('d', 'racer $i', '1 hour');");
}
$racers[$_]->query('COMMIT') foreach 0, 1;
$_->quit foreach @racers;
is(heard_now(), 'd racer 0', 'of two transactions the one that commits is heard');
is(run_sql('SELECT count(*) FROM skew'), 3, 'the other one has failed');
run_sql(q{SELECT cozi.notify_throttled('d', 'after', '1 ms')});
is(heard_now(), 'd after', 'a channel is not held by a commit that has failed');

my ($rc, $out, $err) = $node->psql(
	'postgres', q{BEGIN; SELECT cozi.notify_throttled('d', 'prepared');
	PREPARE TRANSACTION 'p'});
like($err, qr/cannot PREPARE/, 'a transaction that notifies is not prepared');

# Channels are those of a database, and bounded; a dropped database has none.
run_sql(q{SELECT cozi.notify_throttled('c', 'elsewhere', '1 hour')}, 'other');
is(heard_now(), '', 'a message of another database is not heard');
my $elsewhere = House::session($node, 'other');
$elsewhere->query_safe('LISTEN c1');
run_sql(q{SELECT cozi.notify_throttled('c1', 'here', '1 hour')});
like($elsewhere->query(q{SELECT cozi.notify_throttled('c1', 'first', '1 hour')}),
	qr/"c1" with payload "first"/,
	'a channel of another database has an interval of its own');
$elsewhere->quit;
for (1 .. 2)
{
	run_sql(
		q{SELECT count(cozi.notify_throttled('c' || g, 'waits', '1 hour'))
		FROM generate_series(1, 250) g}, 'other');
}
($rc, $out, $err) = $node->psql('postgres',
	q{SELECT cozi.notify_throttled('x' || g) FROM generate_series(1, 20) g});
like($err, qr/no more than 256 channels/, 'a channel beyond all others is refused');
run_sql('DROP DATABASE other');
is(run_sql(q{SELECT count(cozi.notify_throttled('x' || g)) FROM generate_series(1, 20) g}),
	20, 'the channels of a dropped database are free');

# Announcements: a vote, a hidden item, counts.
run_sql(
	q{CREATE TABLE votes (post int, created_at timestamptz DEFAULT now());
	SELECT cozi.create_board('hot', 'votes', 'post');
	SELECT cozi.track_changes('hot');
	SELECT cozi.announce_changes('hot', 'hot', '10 ms');
	SELECT cozi.announce_changes('hot', 'hot_counts', '10 ms', payload => 'counts');});
is(run_sql('SELECT cozi.notify_flush()'), 0, 'nothing is announced before something changes');
run_sql('INSERT INTO votes VALUES (1)');
is(heard_now(), '', 'a vote itself announces nothing');
like(hear_next(1), qr/^hot \{"kept": "public.hot", "change": 1\},hot_counts \{.*"ups": 1/,
	'notify_flush() announces what was folded, with counts where the owner wants them');
run_sql(q{SELECT cozi.hide_item('hot', '1')});
like(hear_next(1),
	qr/^hot \{"kept": "public.hot", "change": 2\},hot_counts .*"item": "1", "gone": true/,
	'an item that is hidden is announced');
is(run_sql(q{SELECT string_agg(state || ' ' || sent, ',') FROM cozi.announcements}),
	'ok 2,ok 2', 'the view tells what was announced');

# With a worker: the last change arrives by itself, at most one message in an interval.
$listener->quit;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cozi'\n");
$node->restart;
run_sql(
	q{SELECT cozi.show_item('hot', '1');
	CREATE TABLE done (n serial);
	SELECT cozi.announce_changes('hot', 'hot', '200 ms')});
listen_to(qw(a hot));
my $script = "$PostgreSQL::Test::Utils::tmp_check/notify.sql";
append_to_file($script,
	q{INSERT INTO votes VALUES (1 + random() * 5);
BEGIN; INSERT INTO done DEFAULT VALUES; SELECT cozi.notify_throttled('a', per => '200 ms'); COMMIT;
});
my $began = time;
$node->command_ok(
	[ 'pgbench', '-n', '-c', '6', '-t', '60', '-f', $script, '-d', $node->connstr('postgres') ],
	'six clients vote and notify');
my %count = (a => 0, hot => 0);
my ($done, $change) = (0, 0);
for (1 .. 600)
{
	foreach my $message (@{ heard() })
	{
		my ($channel, $payload) = split / /, $message, 2;
		$count{$channel}++;
		# a listener reads when it hears, and at no other time
		$done = run_sql('SELECT count(*) FROM done') if $channel eq 'a';
		($change) = $payload =~ /"change": (\d+)/ if $channel eq 'hot';
	}
	last
	  if $done == 360
	  && run_sql(q{SELECT pending = 0 FROM cozi.boards}) eq 't'
	  && $change == run_sql(q{SELECT max(change) FROM cozi.announcements});
	usleep(50_000);
}
my $most = (time - $began) / 0.2 + 2;
is($done, 360, 'who reads when it hears has read the last commit');
is($change, run_sql('SELECT max(change) FROM cozi.announcements'),
	'the last change of the board was announced');
cmp_ok($count{a}, '<=', $most, 'a throttled channel has at most one message in an interval');
cmp_ok($count{hot}, '<=', $most, 'an announcement is made at most once in an interval');
is( run_sql(
		q{SELECT string_agg(item || ' ' || (row_data->>'ups'), ',' ORDER BY item)
		FROM cozi.changes_since('hot')}),
	run_sql(
		q{SELECT string_agg(post || ' ' || n, ',' ORDER BY post)
		FROM (SELECT post::text, count(*) FROM votes GROUP BY 1) v (post, n)}),
	'who reads then has the counts of all votes');

# A quiet database: a vote when no worker is there, and a hidden item, are heard.
$node->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cozi fold worker'});
heard_now();    # what the last worker flushed
run_sql('INSERT INTO votes VALUES (77)');
like(hear_next(0), qr/^hot /, 'a vote starts a worker, which announces it');
$node->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cozi fold worker'});
run_sql(q{SELECT cozi.hide_item('hot', '77')});
like(hear_next(0), qr/^hot /, 'a hidden item starts a worker, which announces it');

# However many commit at once, an interval that runs lets none through.
$listener->query_safe('LISTEN d');
append_to_file("$script.busy", q{SELECT cozi.notify_throttled('d', per => '1 hour');});
$node->command_ok(
	[
		'pgbench', '-n', '-c', '30', '-j', '2', '-t', '200', '-f', "$script.busy", '-d',
		$node->connstr('postgres')
	],
	'thirty clients notify at once');
is(scalar(grep { $_ eq 'd' } @{ heard() }), 1, 'one message in an interval, of 6,000');
$listener->quit;
$node->stop;
done_testing();
