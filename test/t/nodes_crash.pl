# A server that is killed, here or there, while a shard is split and while a bucket
# moves: in the copy, while writers wait for the drain, in the swap, in the clean-up;
# with COZI_LONG after each step, and each step taken back as well.  The plan goes on
# by its own statements, and no row is lost: all that was written is in table truth too.
use strict;
use warnings;
use House;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Plan;

my %node;
foreach my $name (qw(here south))
{
	$node{$name} = House::server($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}->append_conf('postgresql.conf',
		"fsync = off\nwal_retrieve_retry_interval = 100ms\nautovacuum = off");
	$node{$name}->start;
	$node{$name}->safe_psql('postgres', 'CREATE EXTENSION cozi');
}
my $here = $node{here};
plan skip_all => 'no postgres_fdw in this server'
  unless $here->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");
my ($host, $port) = ($node{south}->host, $node{south}->port);
my $connection = $here->connstr('postgres') =~ s/'/''/gr;
my $likes = 'CREATE TABLE likes (id int, user_id bigint, v int, PRIMARY KEY (user_id, id))';
$node{south}->safe_psql('postgres', $likes);
$here->safe_psql('postgres', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE SERVER south FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '$host', port '$port', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER south;
SELECT cozi.add_node('here'), cozi.add_node('south', 'south');
$likes;
CREATE TABLE posts (id int, user_id bigint, v int, PRIMARY KEY (user_id, id))
    PARTITION BY HASH (user_id);
SELECT cozi.create_shards('posts', 2);
INSERT INTO posts SELECT 1, u, 0 FROM generate_series(1, 1000) u;
INSERT INTO likes SELECT i, u, 0 FROM generate_series(1, 20000) u, generate_series(1, 9) i
WHERE cozi.shard_of(u, 1024) IN (5, 6);
CREATE TABLE truth_posts AS TABLE posts;
CREATE TABLE truth_likes AS TABLE likes;
CREATE TABLE hold ();
CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql
    AS 'BEGIN WHILE EXISTS (SELECT FROM public.hold) LOOP PERFORM pg_sleep(0.01); END LOOP; END';
CREATE EVENT TRIGGER hold ON ddl_command_end EXECUTE FUNCTION hold();
SQL

# Writes of every kind, to a table and to the account of it.  Those of the bucket that
# moves go where the map says, unless it has not come there yet.
my $written = 0;

sub writes_of
{
	my ($to, $from, $where) = @_;
	return qq{INSERT INTO $to SELECT 100 + $written, user_id, $written FROM $from
		WHERE id = 1 AND $where;
		UPDATE $to SET v = $written WHERE user_id % 7 = $written % 7 AND $where;
		DELETE FROM $to WHERE id > 100 AND (id + user_id) % 5 = $written % 5 AND $where;};
}

sub writes
{
	my ($table) = @_;
	$written++;
	my $where = $table eq 'posts' ? 'true' : 'cozi.shard_of(user_id, 1024) = 6';
	$here->safe_psql('postgres', join "\n",
		map { writes_of($_, "truth_$table", $where) } $table, "truth_$table");
	return if $table eq 'posts';
	my $name = $here->safe_psql('postgres', 'SELECT node FROM cozi.shard_map WHERE bucket = 5');
	return if $name eq 'south' && $node{south}->safe_psql('postgres',
		"SELECT count(*) FROM pg_trigger WHERE tgname ~ '^coming'");
	$where =~ s/6/5/;
	$node{$name}->safe_psql('postgres', writes_of('likes', 'likes', $where));
	$here->safe_psql('postgres', writes_of('truth_likes', 'likes', $where));
	return;
}

# The rows of both servers, and of the account.
sub account
{
	my ($table, $filter) = @_;
	my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM";
	return ($here->safe_psql('postgres', "$rows posts t"),
		$here->safe_psql('postgres', "$rows truth_posts t"))
	  if $table eq 'posts';
	my $moved = $here->safe_psql('postgres',
		'SELECT node FROM cozi.shard_map WHERE bucket = 5') eq 'south';
	return (
		join(' ', map { $node{ $_ == 5 && $moved ? 'south' : 'here' }->safe_psql('postgres',
				"$rows likes t WHERE cozi.shard_of(user_id, 1024) = $_") } 5, 6),
		join(' ', map { $here->safe_psql('postgres',
				"$rows truth_likes t WHERE cozi.shard_of(user_id, 1024) = $_") } 5, 6));
}

# The postmaster is killed.  Its children see it, sooner or later, and go.
sub crash
{
	my ($name) = @_;
	my $postmaster = $node{$name}->{_pid};
	$node{$name}->kill9;
	usleep(10_000) while kill 0, $postmaster;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node{$name}->start(fail_ok => 1);
		$node{$name}->{_pid} = undef;
		usleep(100_000);
	}
	die "server $name does not start again";
}

# A statement of a plan runs in the background until a condition holds there, and a
# server is killed meanwhile.
sub crash_in
{
	my ($plan, $step, $victim, $name, $until) = @_;
	my ($on) = @{ $plan->{steps}{$step} };
	my $file = "$PostgreSQL::Test::Utils::tmp_check/step.sql";
	unlink $file;
	append_to_file($file, $plan->ask("SELECT statement FROM plan WHERE step = $step"));
	my ($out, $error) = ('', '');
	my $psql = IPC::Run::start(
		[ 'psql', '-qXAt', '-d', $node{$on}->connstr('postgres'), '-f', $file ],
		'<', \undef, '>', \$out, '2>', \$error);
	ok($node{$name}->poll_query_until('postgres', $until),
		"step $step of the " . $plan->{what} . " is under way as $victim is killed");
	crash($victim);
	$here->safe_psql('postgres', 'DELETE FROM hold');
	$psql->finish;
	return;
}

# The copy, held up by a lock on what is copied into.
sub crash_in_copy
{
	my ($plan, $victim, $table) = @_;
	my ($step) = $plan->steps("statement ~ '^CREATE SUBSCRIPTION'");
	$plan->step($step, 'undo');
	my $holder = House::session($node{south}, 'postgres', on_error_stop => 0);
	$holder->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
	is(($plan->step($step, 'statement'))[0],
		0, "the subscription of the $plan->{what} is made, and copies, as $victim is killed");
	$node{south}->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks
		WHERE mode = 'RowExclusiveLock' AND NOT granted});
	crash($victim);
	eval { $holder->quit };
	ok($plan->again($step), "the subscription of the $plan->{what} goes on as $victim is back");
	return;
}

# The drain, held up on the other server; the swap, in the middle of its statements.
sub crash_in_drain
{
	my ($plan, $step, $victim, $table, $write) = @_;
	my $holder = House::session($node{south}, 'postgres', on_error_stop => 0);
	$holder->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
	writes($write);
	crash_in($plan, $step, $victim, 'here',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'Extension'");
	eval { $holder->quit };
	return;
}

sub crash_in_swap
{
	my ($plan, $step, $victim) = @_;
	$here->safe_psql('postgres', 'INSERT INTO hold DEFAULT VALUES');
	crash_in($plan, $step, $victim, 'here',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	return;
}

# A step that nothing has disturbed is simply run; others as after a crash.
sub known
{
	my ($plan, $step) = @_;
	my ($status) = $plan->step($step, 'statement');
	return $status == 0 || $plan->again($step);
}

sub accounted
{
	my ($write, $when) = @_;
	my ($rows, $truth) = account($write);
	return is($rows, $truth, "every row of $write is accounted for $when");
}

# In the copy and in the clean-up a crash of one server, in the drain and in the swap of
# the other.
sub crashes
{
	my ($plan, $write, $table, $back, $one, $other) = @_;
	my ($first) = $plan->steps("statement ~ '^CREATE SUBSCRIPTION'");
	my ($compare) = $plan->steps("phase = 'compare'");
	my ($swap) = $plan->steps("phase = 'swap'");
	my $clean = 0;
	foreach my $step ($plan->steps("phase <> 'later'"))
	{
		crash_in_copy($plan, $_, $table) foreach $step == $first ? $one : ();
		crash_in_drain($plan, $step, $_, $table, $write)
		  foreach $step == $compare ? $other : ();
		if ($step == $swap)
		{
			my $before = $plan->ask('SELECT count(*) FROM pg_inherits, pg_trigger');
			crash_in_swap($plan, $step, $other);
			is($plan->ask('SELECT count(*) FROM pg_inherits, pg_trigger'),
				$before, "a crash in the swap of the $plan->{what} leaves nothing of it")
			  if $other eq 'here';
			writes($write);
		}
		ok(known($plan, $step), "step $step of the $plan->{what} runs") or return;
		if ($step == $swap)
		{
			crash('here') if $ENV{COZI_LONG};
			ok($plan->again($step), "the swap of the $plan->{what} runs again, to no harm");
		}
		accounted($write, "after step $step") if $step == $compare || $step == $swap;
		next if $plan->{steps}{$step}[1] ne 'clean' || $clean++ > ($ENV{COZI_LONG} ? 9 : 0);
		crash($one);
		ok($plan->again($step), "step $step of the $plan->{what} runs twice");
		accounted($write, "after step $step");
	}
	return;
}

# After each step a crash of each server; after some, all is taken back and done again.
sub all_crashes
{
	my ($plan, $write, undef, $back) = @_;
	my ($compare) = $plan->steps("phase = 'compare'");
	my @done;
	foreach my $step ($plan->steps("phase <> 'later'"))
	{
		my $phase = $plan->{steps}{$step}[1];
		ok($plan->again($step), "step $step of the $plan->{what} runs") or return;
		push @done, $step;
		foreach my $victim (qw(here south))
		{
			crash($victim);
			writes($write);
			ok($plan->again($step),
				"step $step of the $plan->{what} goes on after a crash of $victim")
			  or return;
			next if $phase eq 'clean' || $phase eq 'swap' && !$back;
			next if $step % 5 && $step < $compare;
			next if $step % 2 == ($victim eq 'here');
			foreach my $taken (reverse @done)
			{
				my ($status, $error) = $plan->step($taken, 'undo');
				is($status, 0, "step $taken is taken back from step $step") or diag($error);
			}
			accounted($write, "as step $step is taken back");
			ok($plan->again($_), "step $_ runs anew after step $step was taken back")
			  foreach @done;
		}
		accounted($write, "after step $step");
	}
	return;
}

sub plan_of
{
	my ($what, $call) = @_;
	my $plan = Plan->new(\%node, $call);
	$plan->{what} = $what;
	return $plan;
}

my @turns = $ENV{COZI_LONG} ? (\&crashes, \&all_crashes) : (\&crashes);
foreach my $turn (0 .. $#turns)
{
	my $plan =
	  plan_of('split', "cozi.split_plan('posts_shard_$turn', 'south', '$connection')");
	$turns[$turn]->($plan, 'posts', 'posts_shard_' . ($turn + 2),
		1, qw(south here));
	accounted('posts', 'after the split');
	is($here->safe_psql('postgres', "SELECT count(*) FROM cozi.shard_check('posts')"),
		0, 'every row is in its shard');
	$plan = plan_of('move',
		"cozi.move_plan(5, 'south', '$connection', '{likes}', '{user_id}')");
	$turns[$turn]->($plan, 'likes', 'likes', 0, qw(here south));
	accounted('likes', 'after the move');
	ok($plan->run(phase => 'later'), 'the rows that have moved are deleted here');
	accounted('likes', 'after that');
	is( $here->safe_psql(
			'postgres', q{SELECT (SELECT count(*) FROM likes
				WHERE cozi.shard_of(user_id, 1024) = 5),
			(SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_publication),
			(SELECT count(*) FROM pg_trigger WHERE tgname ~ '^(split|moved|moving|coming)')}),
		'0|0|0|0', 'nothing of the plans is left here');
	is( $node{south}->safe_psql(
			'postgres', q{SELECT (SELECT count(*) FROM pg_subscription), (SELECT count(*)
			FROM pg_trigger WHERE tgname ~ '^(moved|coming)')}),
		'0|0', 'nothing of the plans is left there');
	next if $turn == $#turns;
	$here->safe_psql('postgres', "INSERT INTO likes SELECT * FROM truth_likes
		WHERE cozi.shard_of(user_id, 1024) = 5; SELECT cozi.move_buckets('{5}', 'here')");
	$node{south}->safe_psql('postgres', 'DELETE FROM likes');
}
$_->stop foreach values %node;
done_testing();
