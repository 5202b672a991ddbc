package Policy::World;

# Policy/World.pm: people, edges and posts of some types, as policy_differential.pl
# makes up a world of them.

use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Exporter 'import';
use List::Util qw(first shuffle uniq);
use Policy::Chance;
use Test::More;

our @EXPORT =
  qw(@layouts %posts %kept @classes id_of subject_of new_world somebody pairs copy_text);

our @layouts = qw(plain hash range);
our %posts = (map { $_ => "posts_$_" } @layouts);
our %kept = (map { $_ => "kept_$_" } @layouts);    # what protect() is called for

my %types = (
	uuid => [ 'uuid', 'uuid', 'app.id_uuid' ],
	bigint => [ 'bigint', 'int', 'smallint', 'app.id_int' ],
	text => [ 'text', 'varchar', 'app.id_text' ]);
our @classes = sort keys %types;

sub uuid_of { return md5_hex($_[0]) =~ s/^(.{8})(.{4})(.{4})(.{4})/$1-$2-$3-$4-/r }

# Person, group or tag number n as a value of that class.
sub id_of
{
	my ($w, $what, $class, $n) = @_;
	return undef if !defined $n;
	return uuid_of("$what $n") if $class eq 'uuid';
	return ($n - 20) * $w->{scale} if $class eq 'bigint';
	return subject_of($w, $n) if $what eq 'person';
	return "$what number $n";
}

# What the tokens call a person; now and then so long that it is compressed.
sub subject_of
{
	my ($w, $n) = @_;
	return id_of($w, 'person', $w->{family}, $n) if $w->{family} ne 'text';
	return $n % 50 == 7 ? 'x' x 2500 . $n : pick_word($n) . $n;
}

sub pick_word { return ('ann-', 'Ann-', "o'neill ", "z\xc3\xb6e ")[ $_[0] % 4 ] }

sub new_world
{
	my ($round) = @_;
	my $w = {
		db => "round_$round",
		people => pick(7000, 9000),
		popular => 40,
		groups => 144,
		tags => 144
	};
	my $family = $w->{family} = deal('family', @classes);
	my @of_people = uniq($family, 'text');

	# The same class for all that is compared; whom a caller is in an edge may be another.
	my $column = sub {
		my ($class) = @_;
		return { class => $class, type => deal("type $class", @{ $types{$class} }) };
	};
	$w->{author} = $column->($family);
	$w->{grp} = $column->(deal('group', @classes));
	$w->{tag} = $column->(deal('tag', @classes));
	my %target = (
		following => $w->{author},
		member => $w->{grp},
		blocked => $w->{author},
		likes => $w->{tag});
	for my $name (sort keys %target)
	{
		my $class = $name eq 'blocked' ? $family : deal("caller $family", @of_people);
		my $kind = deal('index', 'primary key', 'unique', 'longer', 'backwards');
		$w->{edge}{$name} = {
			rel => "app.${name}_rows",
			kind => $kind,
			unique => $kind eq 'primary key' || $kind eq 'unique',
			nulls => $kind ne 'primary key',
			parts => deal('edge partitions', '', '', 'src', 'dst'),
			both_ways => chance(0.5),
			src => pick('src', '"From"'),
			dst => pick('dst', '"To"'),
			from => $column->($class),
			to => $column->($target{$name}{class})
		};
	}
	$w->{edge}{likes}{name} = pick('likes', 'Likes it', q(he's));

	my @numbers = grep { /int/ } map { $_->{type} } $w->{author}, $w->{grp}, $w->{tag},
	  map { ($_->{from}, $_->{to}) } values %{ $w->{edge} };
	$w->{scale} = (grep { /small/ } @numbers) ? 1 : (grep { !/big/ } @numbers) ? 230_000 : 10**14;

	$w->{visibility} = deal('visibility', 'text', 'varchar', 'smallint', 'app.visibility');
	my @words =
	  $w->{visibility} eq 'smallint'
	  ? (1 .. 5, 0, 6)
	  : (
		qw(public followers group private unlisted),
		$w->{visibility} eq 'app.visibility' ? 'odd' : ('odd', 'PUBLIC', ''));
	@{ $w->{word} }{qw(public followers group private unlisted)} = map { quoted($_) } @words;
	$w->{words} = [ @words, @words[ 0 .. 4 ], @words[ 0 .. 2 ], undef ];
	$w->{protect} = deal('protect', 'grp', 'grp', 'visibility', 'owner');
	note(
		join ' ',
		"$w->{db}: subjects are $family;",
		'author',
		$w->{author}{type},
		'grp',
		$w->{grp}{type},
		'tag',
		$w->{tag}{type},
		'visibility',
		$w->{visibility},
		'protect by',
		$w->{protect},
		map {
			my $e = $w->{edge}{$_};
			"$_ ($e->{from}{type}, $e->{to}{type}) $e->{kind}"
			  . ($e->{parts} && " by $e->{parts}")
			  . ($e->{both_ways} ? ' and back' : '')
		} sort keys %{ $w->{edge} });
	viewers($w);
	return $w;
}

# Who asks: people with so many targets, nobody, and subjects of other types.
sub viewers
{
	my ($w) = @_;
	my @degrees = (
		0, 1, 2, 20, 63, 64, 65, 66, 127, 200,
		300 + int rand 300,
		1000 + int rand 100,
		1500, 2500,
		5001 + int rand 20,
		5500 + int rand 1000);
	my $family = $w->{family};
	my @viewers;
	for my $i (0 .. $#degrees)
	{
		my $n = 101 + $i;
		my $subject = subject_of($w, $n);
		push @viewers,
		  {
			n => $n,
			degree => $degrees[$i],
			subject => $subject,
			$family => id_of($w, 'person', $family, $n),
			text => $subject
		  };
	}
	push @viewers, {}, {}, { subject => 'odd one', text => 'odd one' };
	my $one = $viewers[9];
	push @viewers,
	  { subject => uc $one->{subject}, text => uc $one->{subject}, uuid => $one->{uuid} }
	  if $family eq 'uuid';
	push @viewers, map { { subject => $_, text => $_ } } "0$one->{subject}", '99999999999999999999'
	  if $family eq 'bigint';
	push @viewers, { subject => '9999999999', text => '9999999999', bigint => '9999999999' }
	  if $family eq 'bigint';
	push @viewers,
	  { subject => uuid_of('stranger'), text => uuid_of('stranger'), uuid => uuid_of('stranger') };
	$viewers[$_]{k} = $_ for 0 .. $#viewers;
	$w->{viewers} = \@viewers;
}

# Somebody to follow, block or read: often one of the popular.
sub somebody
{
	my ($w) = @_;
	return 1 + int rand(chance(0.6) ? $w->{popular} : $w->{people});
}

# Rows of an edge: pairs of numbers, with what its table allows.
sub pairs
{
	my ($w, $name) = @_;
	my $e = $w->{edge}{$name};
	my $n = $name eq 'member' ? $w->{groups} : $name eq 'likes' ? $w->{tags} : $w->{people};
	my @rows;
	for my $v (grep { defined $_->{n} } @{ $w->{viewers} })
	{
		my $degree = $name eq 'following' ? $v->{degree} : pick(0, 3, 10, 30, 90);
		my @all =
		  $degree < $n / 4
		  ? uniq(map { 1 + int rand(chance(0.5) ? 40 : $n) } 1 .. 3 * $degree + 20)
		  : shuffle 1 .. $n;
		my %targets = map { $_ => 1 } @all[ 0 .. $degree - 1 ];
		if ($name eq 'following' || $name eq 'blocked')
		{
			$targets{ $v->{n} } = 1,
			  delete $targets{ (first { $_ != $v->{n} } sort keys %targets) || 0 }
			  if $degree && chance(0.3);
			push @rows, map { [ $_, $v->{n} ] } uniq(map { somebody($w) } 1 .. pick(0, 2, 8, 80))
			  if chance(0.6);
		}
		push @rows, map { [ $v->{n}, $_ ] } sort keys %targets;
	}
	push @rows, map { [ somebody($w), 1 + int rand $n ] } 1 .. 400;
	my %seen;
	@rows = grep { !$seen{"@$_"}++ } @rows;
	push @rows, map { pick(@rows) } 1 .. 200 if !$e->{unique};
	push @rows,
	  map { chance(0.5) ? [ pick(@rows)->[0], undef ] : [ undef, pick(@rows)->[1] ] } 1 .. 50
	  if $e->{nulls};
	return shuffle @rows;
}

sub copy_text
{
	return join "\t", map { defined $_ ? s/\\/\\\\/gr : '\N' } @_;
}

1;
