package Policy::Chance;

# Policy/Chance.pm: what the differential tests of policies leave to chance, all
# of it by rand(), so that srand() repeats it.

use strict;
use warnings;
use Exporter 'import';
use List::Util qw(shuffle);

our @EXPORT = qw(pick chance deal quoted);

sub pick   { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

# A value as a literal of SQL.
sub quoted { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL' }

# The next card of a shuffled deck: by chance, and each as often as the others.
my %decks;

sub deal
{
	my ($name, @cards) = @_;
	$decks{$name} = [ shuffle @cards ] unless $decks{$name} && @{ $decks{$name} };
	return shift @{ $decks{$name} };
}

1;
