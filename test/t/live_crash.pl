# A server killed while clients vote and comment, and a reader who goes on with its
# cursors: what the reader has is what the tables have, every comment came once, with
# transactions held open across the crash, and commits that do not wait for the disk.
use strict;
use warnings;
use House;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{COZI_LONG} ? 10 : 2;
my $node = House::server('live');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf',
	"max_connections = 50\nlog_min_messages = warning\nsynchronous_commit = off\n"
	  . "log_statement = none\nrestart_after_crash = on\nmax_prepared_transactions = 10\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE votes (post int, voter serial, created_at timestamptz DEFAULT clock_timestamp());
	CREATE TABLE comments (id bigserial PRIMARY KEY, post_id int NOT NULL);
	CREATE INDEX ON comments (post_id);
	SELECT cozi.create_board('hot', 'votes', 'post');
	SELECT cozi.create_counter('likes', 'votes', 'post');
	SELECT cozi.track_changes('hot'), cozi.track_changes('likes');
});

my $script = "$PostgreSQL::Test::Utils::tmp_check/live.sql";
append_to_file(
	$script, q{
\set post random(1, 20)
\set what random(1, 10)
BEGIN;
INSERT INTO comments (post_id) VALUES (1);
SAVEPOINT s;
INSERT INTO votes VALUES (:post);
INSERT INTO comments (post_id) VALUES (1);
RELEASE s;
\if :what = 1
\sleep 20 ms
\endif
\if :what = 2
DELETE FROM votes WHERE post = :post;
\endif
\if :what = 3
ROLLBACK;
\else
COMMIT;
\endif
});

my %call = (
	hot => q{cozi.changes_since('hot', CURSOR)},
	likes => q{cozi.changes_since('likes', CURSOR)},
	comments => q{cozi.changes_since('comments', '1', CURSOR)});
my %count = (hot => q{row_data->>'ups'}, likes => q{row_data->>'n'}, comments => q{'1'});
my (%cursor, %has, %times);

# One call for each; false when the server was not there, or nothing was new.
sub poll
{
	my $news = 0;
	foreach my $name (sort keys %call)
	{
		my $after = defined $cursor{$name} ? "'$cursor{$name}'" : 'NULL';
		my $sql = "SELECT item, gone, $count{$name}, cursor FROM "
		  . $call{$name} =~ s/CURSOR/$after/r;
		my ($status, $out) = House::attempt($node, 'postgres', $sql);
		next if $status;
		foreach my $line (split /\n/, $out)
		{
			my ($item, $gone, $n, $after_it) = split /\|/, $line;
			$cursor{$name} = $after_it;
			$times{$name}{$item}++;
			$has{$name}{$item} = $n;
			delete $has{$name}{$item} if $gone eq 't';
			$news++;
		}
	}
	return $news;
}

my $polls = 0;
foreach my $round (1 .. $rounds)
{
	my $bench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '4', '-T', '600', '-f', $script, '-d',
			$node->connstr('postgres') . ' application_name=pgbench'
		],
		'>', '/dev/null', '2>', '/dev/null');
	# held open across the crash, and committed after it
	$node->safe_psql(
		'postgres', "BEGIN; INSERT INTO comments (post_id) VALUES (1);
		INSERT INTO votes VALUES (7); PREPARE TRANSACTION 'held $round'");
	my $seen = 0;
	for (1 .. 1000)
	{
		$seen += poll() > 0;
		last if $seen >= 8;
		usleep(20_000);
	}
	$polls += $seen;
	kill 'KILL', $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1});
	$bench->finish;
	House::leave($node, 'postgres');
	House::poll_through_crash($node, 'SELECT true');
	poll();
	$node->safe_psql('postgres', "COMMIT PREPARED 'held $round'");
}
is($polls, 8 * $rounds, 'the reader is told of changes while clients write');

# What is pending is folded at the commits of the reader's own calls.
my $state = q{SELECT string_agg(item || ' ' || n, ',' ORDER BY item::int) FROM };
my %truth = (
	hot => $state . q{(SELECT post, count(*) FROM votes GROUP BY 1) v (item, n)},
	likes => $state . q{(SELECT post, count(*) FROM votes GROUP BY 1) v (item, n)},
	comments => q{SELECT string_agg(id || ' 1', ',' ORDER BY id) FROM comments});
$node->safe_psql('postgres', 'SELECT cozi.fold()');
$node->safe_psql('postgres', 'INSERT INTO votes VALUES (1)');
for (1 .. 600)
{
	last
	  if !poll()
	  && $node->safe_psql('postgres',
		q{SELECT sum(pending) = 0 FROM (SELECT pending FROM cozi.boards
		  UNION ALL SELECT pending FROM cozi.counters) p}) eq 't';
	usleep(50_000);
}
poll();
foreach my $name (sort keys %call)
{
	my $has = join ',', map { "$_ $has{$name}{$_}" } sort { $a <=> $b } keys %{ $has{$name} };
	is($has, $node->safe_psql('postgres', $truth{$name}) =~ s/\n//gr,
		"the reader of $name has what the table has, after $rounds crashes");
}
is(join(' ', grep { $times{comments}{$_} > 1 } keys %{ $times{comments} }),
	'', 'no comment came twice');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
	0,
	'the board equals a recount of its votes');

# A clean start goes on; a copy of the data that begins another timeline does not.
$node->safe_psql('postgres', 'INSERT INTO votes VALUES (3)');
$node->stop;
append_to_file($node->data_dir . '/standby.signal', '');
$node->start;
is($node->safe_psql('postgres',
		"SELECT count(*) >= 0 FROM cozi.changes_since('hot', '$cursor{hot}')"),
	't', 'a standby goes on from the cursor of its primary');
my ($refused, $nothing, $why) = $node->psql('postgres', q{SELECT cozi.notify_throttled('a')});
like($why, qr/during recovery/, 'a standby notifies nobody');
$node->promote;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
my ($rc, $out, $err) = $node->psql('postgres',
	"SELECT count(*) FROM cozi.changes_since('hot', '$cursor{hot}')");
like($err, qr/no longer known/, 'after a promotion an old cursor is refused');
($rc, $out, $err) = $node->psql('postgres',
	"SELECT count(*) FROM cozi.changes_since('comments', '1', '$cursor{comments}')");
like($err, qr/no longer known/, 'after a promotion an old cursor of rows is refused');
$node->stop;
done_testing();
