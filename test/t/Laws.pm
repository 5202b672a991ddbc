package Laws;

# Laws.pm: what can be read off the files of the house.
#
#     law 'a sentence that is true of the tree',
#       find => sub { my ($tree) = @_; ... return "file:line: text", ... },
#       planted => { 'src/pure/x.c' => 'a text that breaks the law', ... },
#       lawful => { 'src/pure/x.c' => 'a text that keeps it', ... };
#
# A law is a function of a tree (file => text), and returns what breaks it.  The
# laws stand in Laws/C.pm, Laws/SQL.pm and Laws/Text.pm; house_laws.pl asks each
# of them about the checkout, about its planted texts and about its lawful ones.
# The law of the laws: no law comes without a planted violation.

use strict;
use warnings;
use Exporter 'import';
use File::Find;

our @EXPORT = qw(law lines_matching columns sql_parts sql_names);
our @laws;

sub law
{
	my ($sentence, %law) = @_;
	die "$sentence: nothing is planted" unless $law{planted};
	push @laws, { sentence => $sentence, lawful => {}, %law };
	return;
}

# The hand-written files of the checkout that stands in the current directory.
sub tree
{
	my %tree;
	find(
		{
			no_chdir => 1,
			wanted => sub {
				my $file = $File::Find::name =~ s{^\./}{}r;
				if (-d && /\/(\.git|tmp_check|results|output_iso|log|node_modules|dist)$/)
				{
					$File::Find::prune = 1;
					return;
				}
				return unless -f && -T;
				return
				  if $file =~
				  /^sql\/cozi--|^demo\/data\/.*csv$|^test\/vectors\/|^\.git$|\.(diffs|out)$/;
				open my $handle, '<:raw', $file or die "$file: $!";
				local $/ = undef;
				$tree{$file} = <$handle>;
			}
		},
		'.');
	return \%tree;
}

# The room that a file belongs to, by which what is left to do is counted.
sub room
{
	my ($offence) = @_;
	return $1 if $offence =~ m{^(?:src|sql)/(\w+)/};
	return $1 if $offence =~ m{^(?:test/\w+|demo/tour|bench|doc)/([a-z]+)[_.]};
	return 'house';
}

# "file:line: text" of every line of those files that matches.
sub lines_matching
{
	my ($tree, $files, $re) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $files } keys %$tree)
	{
		my $n = 0;
		foreach my $line (split /\n/, $tree->{$file})
		{
			$n++;
			push @found, "$file:$n: $line" if $line =~ $re;
		}
	}
	return @found;
}

# How wide a line is, with a tab to every fourth column; in characters.
sub columns
{
	my ($line) = @_;
	utf8::decode($line);
	1 while $line =~ s/^([^\t]*)\t/$1 . ' ' x (4 - length($1) % 4)/e;
	return length $line;
}

# The parts of the script of the extension.
sub sql_parts { return qr/^sql\/(?!update\/|cozi--).*\.sql$/ }

# What the parts create: name => kind.
sub sql_names
{
	my ($tree) = @_;
	my %name;
	foreach my $file (grep { $_ =~ sql_parts() } keys %$tree)
	{
		$name{ lc $2 } = lc $1
		  while $tree->{$file} =~
		  /^CREATE (?:OR REPLACE )?(FUNCTION|AGGREGATE|VIEW|TABLE|TYPE|PROCEDURE) (\w+)/mg;
	}
	# views that a DO makes from one text stand on the page of grants
	foreach (($tree->{'sql/grants.sql'} // '') =~ /^ +\('\w+', +'\w+', +'([\w ]+)'\)/mg)
	{
		$name{$_} //= 'granted' foreach split;
	}
	return \%name;
}

1;
