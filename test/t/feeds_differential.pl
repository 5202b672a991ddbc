# A feed against the plain query: random follows, blocks, mutes, posts, ties and
# deletions, in tables of three kinds, by edges of three, under a policy, at every
# isolation level, by plans of either kind; and pages that a client turns while others
# write.  Last, what was seen misleads a feed, and costs it little more than the better
# of its two ways alone.
#
# COZI_SEED repeats the rows and the questions of a run.
use strict;
use warnings;

use IPC::Run ();
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = defined $ENV{COZI_SEED} ? $ENV{COZI_SEED} : int(rand(2**31));
my $rounds = $ENV{COZI_LONG} ? 200 : 6;
note("COZI_SEED=$seed");

my $node = House::server('feeds');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\njit = off");
$node->start;
srand($seed);    # now: the server's port was by chance too

$node->safe_psql('postgres', <<'END');
CREATE EXTENSION cozi;
CREATE ROLE reader;
GRANT USAGE ON SCHEMA cozi TO reader;
CREATE TABLE posts (id int, author bigint, rank int, hidden boolean);
CREATE TABLE by_author (LIKE posts) PARTITION BY HASH (author);
CREATE TABLE by_author_0 PARTITION OF by_author FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_author_1 PARTITION OF by_author FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE by_rank (LIKE posts) PARTITION BY RANGE (rank);
CREATE TABLE by_rank_0 PARTITION OF by_rank FOR VALUES FROM (MINVALUE) TO (40);
CREATE TABLE by_rank_1 PARTITION OF by_rank DEFAULT;
CREATE INDEX ON posts (author, rank DESC, id DESC);
CREATE INDEX ON posts (rank DESC, id DESC);
CREATE INDEX ON by_author (author, rank);
CREATE INDEX ON by_rank (rank, id);
CREATE INDEX ON by_rank (author, rank DESC, id DESC);
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
CREATE TABLE mutes (a bigint, b bigint, PRIMARY KEY (a, b));
-- the same follows, in the other order and in parts
CREATE TABLE falling (a bigint NOT NULL, b bigint NOT NULL);
CREATE UNIQUE INDEX ON falling (a, b DESC);
CREATE TABLE parted (a bigint, b bigint, PRIMARY KEY (a, b)) PARTITION BY HASH (b);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('falling', 'falling', 'a', 'b'),
       cozi.register_edge('parted', 'parted', 'a', 'b'),
       cozi.register_edge('blocked', 'blocks', 'a', 'b'),
       cozi.register_edge('muted', 'mutes', 'a', 'b');
CREATE FUNCTION plain(who bigint, k int, seen boolean, after_rank int, after_id int)
    RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(x.id::text, ' '), '') FROM (
        SELECT p.id FROM posts p WHERE p.rank IS NOT NULL AND (seen OR NOT p.hidden)
          AND EXISTS (SELECT FROM follows f WHERE f.a = who AND f.b = p.author)
          AND NOT EXISTS (SELECT FROM blocks b
                          WHERE (b.a, b.b) IN ((who, p.author), (p.author, who)))
          AND NOT EXISTS (SELECT FROM mutes m WHERE m.a = who AND m.b = p.author)
          AND (after_id IS NULL OR (p.rank, p.id) < (after_rank, after_id))
        ORDER BY p.rank DESC, p.id DESC LIMIT k) x $$;
CREATE FUNCTION fed(rel regclass, edge name, k int, after_rank int, after_id int)
    RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(f.item, ' '), '') FROM cozi.feed(rel, edge, k,
        author => 'author', rank => 'rank',
        after => CASE WHEN after_id IS NOT NULL THEN cozi.cursor_encode(after_rank, after_id) END)
        f $$;
GRANT SELECT ON posts, by_author, by_rank TO reader;
END
foreach my $table (qw(posts by_author by_rank))
{
	$node->safe_psql(
		'postgres', "ALTER TABLE $table ENABLE ROW LEVEL SECURITY;
		CREATE POLICY shown ON $table TO reader USING (NOT hidden)");
}

sub pick { return $_[ int(rand(@_)) ] }

# A new world: how many authors, posts and followees, how often ranks are equal.
sub world
{
	my ($authors, $posts, $follows, $ranks) =
	  (pick(3, 40, 400), pick(0, 50, 3000), pick(0, 3, 70, 900), pick(1, 20, 100000));
	$node->safe_psql(
		'postgres', 'SELECT setseed(' . rand() . ");
		TRUNCATE posts, by_author, by_rank, follows, falling, parted, blocks, mutes;
		INSERT INTO posts SELECT g, nullif(floor($authors * random() ^ 2)::int, 7),
			CASE WHEN random() > 0.02 THEN floor(random() * $ranks)::int END, random() < 0.2
			FROM generate_series(1, $posts) g;
		INSERT INTO follows SELECT who, floor(random() * $authors * 1.2)::int
			FROM generate_series(1, 3) who, generate_series(1, $follows) ON CONFLICT DO NOTHING;
		INSERT INTO falling SELECT * FROM follows;
		INSERT INTO parted SELECT * FROM follows;
		INSERT INTO blocks SELECT floor(random() * 5)::int, floor(random() * 40)::int
			FROM generate_series(1, 20) ON CONFLICT DO NOTHING;
		INSERT INTO blocks SELECT b, a FROM blocks WHERE random() < 0.5 ON CONFLICT DO NOTHING;
		INSERT INTO mutes SELECT floor(random() * 5)::int, floor(random() * 40)::int
			FROM generate_series(1, 10) ON CONFLICT DO NOTHING;
		DELETE FROM posts WHERE random() < 0.1;
		INSERT INTO by_author SELECT * FROM posts;
		INSERT INTO by_rank SELECT * FROM posts;" . pick('', 'ANALYZE;', 'VACUUM ANALYZE;'));
	return "$authors authors, $posts posts, $follows follows, $ranks ranks";
}

# One question of a caller's, in a transaction, and the plain answer in the same.
sub question
{
	my $who = pick(1, 2, 3);
	my $role = pick('', 'SET LOCAL ROLE reader;');
	my $seen = $role ? 'false' : 'true';
	my $k = pick(1, 5, 20, 300, 10000);
	my $after = pick('NULL, NULL', int(rand(100)) . ', ' . int(rand(3000)));
	my $rel = pick('posts', 'by_author', 'by_rank');
	my $edge = pick(qw(following falling parted));
	my $level = pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $mode = pick('force_custom_plan', 'force_generic_plan', 'auto');
	return "BEGIN ISOLATION LEVEL $level;
		SET LOCAL plan_cache_mode = $mode;
		SELECT cozi.act_as('$who') IS NULL;
		SELECT plain($who, $k, $seen, $after) AS plain \\gset
		$role
		SELECT fed('$rel', '$edge', $k, $after) = :'plain',
			'$who $k $rel $edge $level $mode $role ($after)';
		COMMIT;\n";
}

my ($questions, @wrong) = (0);
foreach my $round (1 .. $rounds)
{
	my $world = world();
	my $script = "\\set QUIET on\n" . join '', map { question() } 1 .. 40;
	my $out = $node->safe_psql('postgres', $script);
	$questions += () = $out =~ /^t\|/mg;
	push @wrong, map { "$world: $_" } grep { /^f\|/ } split /\n/, $out;
}
is(join("\n", @wrong), '', 'every feed equals the plain query of its snapshot');
is($questions, 40 * $rounds, 'every question was answered');

# Pages, while others insert, delete and move rows: those whom nobody touches come
# once, in their order.
$node->safe_psql('postgres', <<'END');
TRUNCATE posts, by_author, by_rank, follows, blocks, mutes;
INSERT INTO follows SELECT 1, g FROM generate_series(1, 30) g;
INSERT INTO posts SELECT g, g % 40, g / 3, false FROM generate_series(1, 6000) g;
END
my $writer = '';
for my $n (1 .. 300)
{
	my $odd = 1 + 2 * int(rand(3000));
	$writer .= pick(
		"INSERT INTO posts VALUES (10000 + 2 * $n + 1, $n % 40, " . int(rand(2000)) . ", false);\n",
		"DELETE FROM posts WHERE id = $odd;\n",
		"UPDATE posts SET rank = " . int(rand(2000)) . " WHERE id = $odd;\n");
}
my $out = '';
my $handle = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', '-' ],
	'<', \$writer, '>', \$out, '2>&1');
my $pages = $node->safe_psql('postgres', <<'END');
CREATE PROCEDURE turn(OUT ids text) LANGUAGE plpgsql AS $$
DECLARE
    last text;
    page text;
BEGIN
    ids := '';
    LOOP
        PERFORM cozi.act_as('1');
        SELECT string_agg(f.item, ' '), (array_agg(f.cursor))[count(*)] INTO page, last
        FROM cozi.feed('posts', 'following', 25, author => 'author', rank => 'rank',
                       after => last) f;
        COMMIT;
        EXIT WHEN page IS NULL;
        ids := ids || ' ' || page;
    END LOOP;
END $$;
CALL turn(NULL);
END
IPC::Run::finish($handle);
is($out, '', 'those who write meanwhile are not disturbed');
my @even = grep { $_ % 2 == 0 } split ' ', $pages;
my $stable = $node->safe_psql(
	'postgres',
	"SELECT string_agg(id::text, ' ' ORDER BY rank DESC, id DESC) FROM posts
	 WHERE id % 2 = 0 AND author BETWEEN 1 AND 30");
is("@even", $stable, 'pages of rows that nobody touches concatenate to the whole');

# Races of the two ways in which what was seen says nothing about what comes, or the
# wrong thing.  Each is of posts (author, rank) and of followees.  A feed names at
# DEBUG1 what it did, and the seconds that it reckons with; the table loses an index
# for the time of one way alone.  The ways may take 2.5 times the better of them, with
# the last step, and the beginning; the rest is for the machine.
my $most = 3.5;
my $each = 'UNION ALL SELECT g, -g FROM generate_series(1, %d) g';
my $busy = 'UNION ALL SELECT %s, -g FROM generate_series(1, 20000) g';
my @races = (

	# what it is, rows of others, followees, their rows
	[ 'accounts that have been dead for long', 60_000, 4000, sprintf($each, 4000) ],
	[ 'rows behind a long stretch of others', 12_000, 20_000, sprintf($each, 20_000) ],
	[
		'one row that is new, and all others old',
		60_000, 4000, sprintf($each, 4000) . ' UNION ALL SELECT 1, 70000'
	],
	[
		'a burst far above the rest, by rank, and then nothing for long',
		150_000, 4000, sprintf($each, 4000)
		  . ' UNION ALL SELECT g, 1000000000000 + g FROM generate_series(1, 10) g'
	],
	[
		'an end that is far by rank, and close by rows',
		12_000, 60_000, sprintf($each, 60_000) =~ s/-g/-1000000000000 - g/r
	],
	[
		'keys of which those opened first are dead, and the others busy',
		60_000, 4000, sprintf($busy, '1 + g % 400')
	],
	[
		'keys of which those opened first are busy, and the others dead',
		60_000, 4000, sprintf($busy, '4000 - g % 100')
	]);
$node->safe_psql('postgres', <<'END');
CREATE TABLE race (id bigint GENERATED ALWAYS AS IDENTITY, author bigint, rank bigint NOT NULL);
CREATE INDEX to_merge ON race (author, rank DESC, id DESC);
CREATE INDEX to_walk ON race (rank DESC, id DESC);
CREATE TABLE racing (a bigint, b bigint, PRIMARY KEY (a, b));
SELECT cozi.register_edge('racing', 'racing', 'a', 'b');
END

my $asked = <<'END' x 3;
SELECT string_agg(item, ' ')
FROM cozi.feed('race', 'racing', 20, author => 'author', rank => 'rank');
END

# The ways take turns in one session, and what counts is the least time of each.
my $script = "BEGIN;
SELECT cozi.act_as('1') IS NULL AS anonymous \\gset
SET client_min_messages = debug1;
" . "\\warn both\n$asked" . join '', map { <<"END" }
SAVEPOINT s;
DROP INDEX $_;
\\warn without $_
${asked}ROLLBACK TO s;
END
qw(to_walk to_merge);

foreach my $race (@races)
{
	my ($name, $others, $n, $rows) = @$race;
	my ($pages, $err, $way, %least) = ('', '');
	$node->safe_psql(
		'postgres', "TRUNCATE race, racing;
		INSERT INTO race (author, rank)
			SELECT 900000 + g % 7, g FROM generate_series(1::bigint, $others) g $rows;
		INSERT INTO racing SELECT 1, g FROM generate_series(1, $n) g;
		ANALYZE race, racing;");
	$node->psql('postgres', "${script}ROLLBACK;\n" x 3, stdout => \$pages, stderr => \$err);
	foreach (split /\n/, $err)
	{
		$way = $1 if /^(both|without \w+)/;
		next unless /walked \d+ rows in ([\d.]+) ms, and merged \d+ of \d+ keys in ([\d.]+) ms/;
		$least{$way} = $1 + $2 unless defined $least{$way} && $least{$way} < $1 + $2;
	}
	my %page = map { $_ => 1 } split /\n/, $pages;
	is(scalar keys %page, 1, "both ways lead to the same page: $name");
	my ($both, $merge, $walk) = @least{ 'both', 'without to_walk', 'without to_merge' };
	note("$name: both $both ms, merging $merge, walking $walk");
	cmp_ok($both / ($merge < $walk ? $merge : $walk),
		'<', $most, "both ways in turn take little more than the better: $name");
}

my $told = '';
$node->psql('postgres', <<'END', stderr => \$told);
SET client_min_messages = debug1;
SET SESSION AUTHORIZATION reader;
SELECT count(*) FROM cozi.feed('posts', 'following', 1, author => 'author', rank => 'rank');
END
unlike($told, qr/walked|ERROR/, 'what a feed has read is no business of a session without rights');

$node->stop;
done_testing();
