package Policy::Schema;

# Policy/Schema.pm: a world of policy_differential.pl as SQL.

use strict;
use warnings;
use Exporter 'import';
use Policy::Chance;
use Policy::Functions;
use Policy::Oracle;
use Policy::World;
use Token;

our @EXPORT = qw(schema);

# All that a new database needs.
sub schema
{
	my ($w) = @_;
	my $of = sub { $w->{ $_[0] }{class} };
	my $sql = '';
	my $copy = sub {
		my ($into, @rows) = @_;
		$sql .=
		  "COPY $into FROM stdin;\n" . join('', map { copy_text(@$_) . "\n" } @rows) . "\\.\n";
	};
	my $roles = join ', ', values %role;
	$sql .= <<"END";
CREATE EXTENSION cozi;
SELECT cozi.add_secret('$secret');
GRANT USAGE ON SCHEMA cozi TO owner, $roles;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect TO owner;
CREATE SCHEMA app AUTHORIZATION owner;
CREATE SCHEMA plain;
GRANT USAGE ON SCHEMA app, plain TO $roles;
SET ROLE owner;
CREATE DOMAIN app.id_uuid AS uuid;
CREATE DOMAIN app.id_int AS int;
CREATE DOMAIN app.id_text AS varchar;
CREATE TYPE app.visibility AS ENUM ('public', 'followers', 'group', 'private', 'unlisted', 'odd');
CREATE TABLE app.person (n int PRIMARY KEY, uuid uuid, bigint bigint, text text);
CREATE TABLE app.grp (LIKE app.person INCLUDING ALL);
CREATE TABLE app.tag (LIKE app.person INCLUDING ALL);
CREATE TABLE app.viewer (k int PRIMARY KEY, n int, token text, uuid uuid, bigint bigint, text text);
GRANT SELECT ON app.person, app.grp, app.tag, app.viewer TO $roles;
END
	for my $what (qw(person grp tag))
	{
		$copy->(
			"app.$what",
			map {
				my $n = $_;
				[
					$n,
					map {
						$what eq 'person' && $_ ne 'text' && $_ ne $w->{family}
						  ? undef
						  : id_of($w, $what, $_, $n)
					} qw(uuid bigint text)
				]
			} 1 .. ($what eq 'person' ? $w->{people} : $what eq 'grp' ? $w->{groups} : $w->{tags}));
	}
	$copy->(
		'app.viewer',
		map {
			[
				@$_{qw(k n)}, defined $_->{subject} ? token($_->{subject}) : undef,
				@$_{qw(uuid bigint text)}
			]
		} @{ $w->{viewers} });

	for my $name (sort keys %{ $w->{edge} })
	{
		my $e = $w->{edge}{$name};
		my ($src, $dst) = @$e{qw(src dst)};
		my $of_target = $name eq 'member' ? 'grp' : $name eq 'likes' ? 'tag' : 'person';
		$sql .=
		  "CREATE TABLE $e->{rel} (gone int, $src $e->{from}{type}, note text, $dst $e->{to}{type})"
		  . ($e->{parts} ? " PARTITION BY HASH ($e->{$e->{parts}})" : '') . ";\n";
		$sql .=
			"CREATE TABLE $e->{rel}_$_ PARTITION OF $e->{rel} FOR "
		  . "VALUES WITH (MODULUS 3, REMAINDER $_);\n"
		  for $e->{parts} ? 0 .. 2 : ();
		$sql .= "ALTER TABLE $e->{rel} DROP COLUMN gone;\n" if chance(0.5);
		$copy->(
			"$e->{rel} ($src, $dst)",
			map {
				[
					id_of($w, 'person', $e->{from}{class}, $_->[0]),
					id_of($w, $of_target, $e->{to}{class}, $_->[1])
				]
			} pairs($w, $name));
		$sql .= {
			'primary key' => "ALTER TABLE $e->{rel} ADD PRIMARY KEY ($src, $dst);\n",
			'unique' => "CREATE UNIQUE INDEX ON $e->{rel} ($src, $dst) INCLUDE (note);\n",
			'longer' => "CREATE INDEX ON $e->{rel} ($src, $dst, note);\n",
			'backwards' => "CREATE INDEX ON $e->{rel} ($src DESC, $dst NULLS FIRST);\n"
		}->{ $e->{kind} };
		$sql .= "CREATE INDEX ON $e->{rel} ($dst, $src);\n" if $e->{both_ways};
		$sql .= 'SELECT cozi.register_edge('
		  . join(', ', map { quoted(s/"//gr) } $e->{name} || $name, $e->{rel}, $src, $dst) . ");\n";
	}

	my $rows = $w->{rows} =
	  $w->{family} eq 'text' ? deal('few rows', 300, 1000) : deal('rows', 600, 2500, 2500);
	my @authors = ((map { $_->{n} } grep { defined $_->{n} } @{ $w->{viewers} }), undef);
	for my $layout (@layouts)
	{
		my $by = {
			plain => '',
			hash => 'PARTITION BY HASH (author)',
			range => 'PARTITION BY RANGE (rank)'
		}->{$layout};
		for my $t ($posts{$layout}, $kept{$layout})
		{
			$sql .=
				"CREATE TABLE app.$t (id int, author $w->{author}{type}, grp $w->{grp}{type}, "
			  . "visibility $w->{visibility}, tag $w->{tag}{type}, rank int) $by;\n";
			$sql .=
				"CREATE TABLE app.${t}_$_ PARTITION OF app.$t FOR "
			  . "VALUES WITH (MODULUS 3, REMAINDER $_);\n"
			  for $layout eq 'hash' ? 0 .. 2 : ();
			$sql .=
				"CREATE TABLE app.${t}_$_ PARTITION OF app.$t FOR VALUES FROM ("
			  . 100 * $_
			  . ') TO ('
			  . 100 * ($_ + 1) . ");\n"
			  for $layout eq 'range' ? 0 .. 1 : ();
			$sql .= "CREATE TABLE app.${t}_rest PARTITION OF app.$t DEFAULT;\n"
			  if $layout eq 'range';
			$sql .= "CREATE INDEX ON app.$t (author, id);\n";
			$sql .= "CREATE INDEX ON app.$t ($_);\n"
			  for grep { chance(0.4) } 'grp', 'tag', 'rank DESC, id', 'visibility';
			if ($t eq $posts{plain})
			{
				$copy->(
					"app.$t",
					map {
						[
							$_,
							id_of(
								$w,
								'person',
								$w->{author}{class},
								chance(0.1)      ? pick(@authors)            : $rows > 1000
								  && chance(0.6) ? 1 + int rand $w->{people} : somebody($w)),
							id_of(
								$w, 'grp',
								$w->{grp}{class},
								pick(
									undef,
									1 + int rand 10,
									map { 1 + int rand $w->{groups} } 1 .. 4)),
							pick(@{ $w->{words} }),
							id_of(
								$w, 'tag',
								$w->{tag}{class},
								pick(undef, map { 1 + int rand $w->{tags} } 1 .. 5)),
							int rand 500
						]
					} 1 .. $rows);
			}
			else { $sql .= "INSERT INTO app.$t SELECT * FROM app.$posts{plain};\n" }
		}
		my $t = $posts{$layout};
		$sql .=
			"ALTER TABLE app.$t ENABLE ROW LEVEL SECURITY; "
		  . "GRANT SELECT ON app.$t, app.$kept{$layout} TO $roles;\n";
		$sql .=
			"SELECT cozi.protect('app.$kept{$layout}', 'author'"
		  . ($w->{protect} eq 'owner' ? ''                : ", visibility => 'visibility'")
		  . ($w->{protect} eq 'grp'   ? ", grp => 'grp'"  : '')
		  . (chance(0.5)              ? ', force => true' : '') . ");\n";
	}
	$sql .= <<"END";
CREATE FUNCTION app.helper(id @{[ $of->('author') ]}) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS \$\$ BEGIN RETURN cozi.is_following(id); END \$\$;
END
	for my $policy (grep { defined $policy{$_} } @policies)
	{
		my @made =
		  $policy eq 'restricted'
		  ? ([ 'own', '' ], [ 'following', '' ], [ 'NOT blocked_by', 'AS RESTRICTIVE' ])
		  : ([ $policy{$policy}, '' ]);
		for my $t (values %posts)
		{
			$sql .=
				"CREATE POLICY ${policy}_$_ ON app.$t $made[$_][1] FOR SELECT TO $role{$policy} "
			  . "USING ("
			  . cozi_policy($w, $made[$_][0]) . ");\n"
			  for 0 .. $#made;
		}
	}
	$sql .= "CREATE SEQUENCE app.post_id START 100001;\nCREATE SEQUENCE app.acts;\nRESET ROLE;\n";

	# what is compared with: the tables themselves, read with a superuser's rights
	$sql .= "CREATE VIEW plain.$_ AS SELECT * FROM $w->{edge}{$_}{rel};\n"
	  for sort keys %{ $w->{edge} };
	$sql .= "CREATE VIEW plain.$_ AS SELECT * FROM app.$_;\n" for values %posts, values %kept;
	my %is = plain_words(
		$w, 'p',
		{ map { $_ => "me.$_" } @classes },
		{ map { $_ => $w->{edge}{$_}{rel} } keys %{ $w->{edge} } });
	my $columns =
		"author @{[ $of->('author') ]}, grp @{[ $of->('grp') ]}, tag @{[ $of->('tag') ]}, "
	  . "visibility $w->{visibility}";
	for my $word (qw(own following member blocked blocked_by likes view))
	{
		$sql .=
			"CREATE FUNCTION plain.is_$word(me app.viewer, $columns) RETURNS boolean "
		  . "LANGUAGE sql STABLE SECURITY DEFINER AS \$\$"
		  . " SELECT coalesce($is{$word}, false) FROM (VALUES (\$2, \$3, \$4, \$5)) p(author, "
		  . "grp, tag, visibility) \$\$;\n";
	}
	$sql .= <<'END';
CREATE FUNCTION plain.answer(question text) RETURNS text[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET enable_indexscan = on SET enable_indexonlyscan = on
    SET enable_bitmapscan = on SET enable_seqscan = on
    SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
    answer text[];
BEGIN
    EXECUTE question INTO answer;
    RETURN answer;
END $$;
END
	$sql .= functions($w);
	$sql .= "GRANT SELECT ON ALL TABLES IN SCHEMA plain TO $roles;\nSELECT 'all is set up';\n";
	return $sql;
}

1;
