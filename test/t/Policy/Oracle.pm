package Policy::Oracle;

# Policy/Oracle.pm: one statement said twice, in cozi's predicates and in plain
# SQL, for policy_differential.pl.
#
# The law: plain SQL calls nothing of cozi.

use strict;
use warnings;
use Exporter 'import';
use Policy::Chance;
use Policy::World;

our @EXPORT = qw(%policy @policies %role exists_edge plain_words plain_policy cozi_policy
  question random_filter verdict);

# What a policy says, in words that are translated twice: into cozi's
# predicates, and into plain SQL.  Each has a role of its own, but for what
# protect() makes.
our %policy = (
	owner => 'own',
	following => 'following',
	member => 'member',
	not_blocked => 'NOT blocked',
	blocked_by => 'blocked_by',
	likes => 'likes',
	view => 'view',
	view_without_group => 'view_without_group',
	own_or_following => 'own OR following',
	following_and_member => 'following AND member AND NOT blocked',
	not_following => 'NOT following AND NOT blocked_by',
	mixed => '(member OR likes OR own) AND NOT blocked AND NOT blocked_by',
	view_and_not_likes => 'view AND NOT likes',
	by_name => 'by_name',
	helper => 'helper',
	restricted => '(own OR following) AND NOT blocked_by',
	protect => undef);
our @policies = sort keys %policy;
our %role = map { $policies[$_] => "viewer_$_" } 0 .. $#policies;

# EXISTS over an edge, from or to the caller.
sub exists_edge
{
	my ($w, $name, $me, $target, $reverse, $rel) = @_;
	my $e = $w->{edge}{$name};
	my $on =
	  $reverse
	  ? "e.$e->{src} = $target AND e.$e->{dst} = $me->{ $e->{to}{class} }"
	  : "e.$e->{src} = $me->{ $e->{from}{class} } AND e.$e->{dst} = $target";
	return 'EXISTS (SELECT FROM ' . ($rel->{$name} || "plain.$name") . " e WHERE $on)";
}

# The words in plain SQL.  me: the caller as an expression of each class; rel:
# other relations for some edges.
sub plain_words
{
	my ($w, $p, $me, $rel) = @_;
	my ($author, $grp, $tag) = ("$p.author", "$p.grp", "$p.tag");
	my %is = (
		own => "$author = $me->{ $w->{author}{class} }",
		following => exists_edge($w, 'following', $me, $author, 0, $rel),
		member => exists_edge($w, 'member', $me, $grp, 0, $rel),
		blocked => exists_edge($w, 'blocked', $me, $author, 0, $rel),
		blocked_by => exists_edge($w, 'blocked', $me, $author, 1, $rel),
		likes => exists_edge($w, 'likes', $me, $tag, 0, $rel));
	my $view = sub {
		my $group = $_[0] ? " OR $p.visibility = $w->{word}{group} AND $is{member}" : '';
		return
			"($is{own} OR ($p.visibility IN ($w->{word}{public}, $w->{word}{unlisted}) "
		  . "OR $p.visibility = $w->{word}{followers} AND $is{following}$group)"
		  . " AND NOT $is{blocked} AND NOT $is{blocked_by})";
	};
	return (
		%is,
		view => $view->(1),
		view_without_group => $view->(0),
		helper => $is{following},
		by_name => "($p.rank % 2 = 0 AND $is{following} OR $p.rank % 2 <> 0 AND $is{blocked})");
}

sub plain_policy
{
	my ($w, $policy, $p, $me, $rel) = @_;
	my %is = plain_words($w, $p, $me, $rel);
	my %of = (blocked => 'author', blocked_by => 'author', following => 'author', likes => 'tag');
	my $said = $policy{$policy}
	  || { grp => 'view', visibility => 'view_without_group', owner => 'own' }->{ $w->{protect} };
	# a predicate of NULL is NULL, and so is its negation
	return $said =~ s{\bNOT (\w+)|\b([a-z_]+)\b}{ $1 ? "($p.$of{$1} IS NOT NULL "
	  . "AND NOT $is{$1})" : "($is{$2})" }ger;
}

sub cozi_policy
{
	my ($w, $said) = @_;
	my $word =
	  $w->{visibility} eq 'smallint'
	  ? "(ARRAY['public', 'followers', 'group', 'private', 'unlisted'])[visibility]"
	  : $w->{visibility} eq 'app.visibility' ? 'visibility::text'
	  :                                        'visibility';
	my %is = (
		own => 'cozi.is_owner(author)',
		following => 'cozi.is_following(author)',
		member => 'cozi.is_member(grp)',
		blocked => 'cozi.has_blocked(author)',
		blocked_by => 'cozi.is_blocked_by(author)',
		likes => 'cozi.is_edge(' . quoted($w->{edge}{likes}{name}) . ', tag)',
		view => "cozi.can_view($word, author, grp)",
		view_without_group => "cozi.can_view($word, author, NULL::bigint)",
		helper => 'app.helper(author)',
		by_name =>
		  q{cozi.is_edge((CASE WHEN rank % 2 = 0 THEN 'following' ELSE 'blocked' END)::name,}
		  . ' author)');
	return $said =~ s{\b([a-z_]+)\b}{$is{$1}}gr;
}

# A query whose answer is one array; sees(alias) is the condition that stands
# for the policy, or true where the policy is in force.
sub question
{
	my ($shape, $rel, $filter, $sees) = @_;
	my $where = sub { my $p = shift; "($filter->{$p}) AND (" . $sees->($p) . ')' };
	return "SELECT coalesce(array_agg(p.id::text ORDER BY p.id), '{}') FROM $rel p WHERE "
	  . $where->('p')
	  if $shape eq 'all';
	return
		"SELECT coalesce(array_agg(s.id::text ORDER BY s.id), '{}') FROM (SELECT p.id FROM $rel p "
	  . "WHERE "
	  . $where->('p')
	  . " ORDER BY p.rank DESC, p.id LIMIT $filter->{limit}) s"
	  if $shape eq 'feed';
	return
		"SELECT coalesce(array_agg(s.x ORDER BY s.x), '{}') "
	  . "FROM (SELECT concat(right(p.author::text, 20), ':', count(*)) AS x FROM $rel p WHERE "
	  . $where->('p')
	  . ' GROUP BY p.author) s'
	  if $shape eq 'groups';
	return
		"SELECT coalesce(array_agg(concat(p.id, '-', q.id) ORDER BY p.id, q.id), '{}') "
	  . "FROM $rel p JOIN $rel q ON q.author = p.author AND q.id > p.id WHERE p.rank < 60 "
	  . "AND q.rank < 200 AND "
	  . $where->('p') . ' AND '
	  . $where->('q')
	  if $shape eq 'join';
	return
		"SELECT coalesce(array_agg(p.id::text ORDER BY p.id), '{}') FROM $rel p "
	  . "WHERE p.rank < 200 AND "
	  . $where->('p')
	  . " AND (p.id % 3 = 0 OR EXISTS (SELECT FROM $rel q WHERE q.grp = p.grp AND q.id <> p.id "
	  . "AND q.rank < 30 AND "
	  . $where->('q') . '))';
}

sub random_filter
{
	my ($a, $b) = (int rand 500, 2 + int rand 8);
	my $f = pick(
		'true', 'true', 'true', "{}.rank < $a",
		"{}.id % $b = 0",
		'{}.visibility IS NOT NULL',
		'{}.author IS NOT NULL',
		"{}.grp IS NOT NULL AND {}.rank > $a");
	return { limit => pick(1, 10, 50, 400), map { my $p = $_; $p => $f =~ s/\{\}/$p/gr } 'p', 'q' };
}

# The line a judge writes: two arrays, are they equal?
sub verdict
{
	my ($tag, $seen, $said) = @_;
	return
		"SELECT '=', $tag, a = b, cardinality(a), CASE WHEN a <> b THEN left(concat("
	  . "'cozi alone: ', array(SELECT unnest(a) EXCEPT SELECT unnest(b)), ' plain alone: ', "
	  . "array(SELECT unnest(b) EXCEPT SELECT unnest(a))), 2000) END"
	  . " FROM ($seen) s(a), ($said) p(b)";
}

1;
