package House;

# House.pm: what the house's TAP files share.
#
#     is(House::difference($old, $new), '', 'equal');    # sets of lines
#     House::signature($node, 'db');                     # see signature.sql

use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Utils;

our $signature_sql = slurp_file("$FindBin::Bin/signature.sql");

sub signature
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, $signature_sql);
}

# The lines in one text only, "-" for the first and "+" for the second.
sub difference
{
	my ($old, $new) = @_;
	my %old = map { $_ => 1 } split /\n/, $old;
	my %new = map { $_ => 1 } split /\n/, $new;
	return join "\n", (map { "- $_" } sort grep { !$new{$_} } keys %old),
	  (map { "+ $_" } sort grep { !$old{$_} } keys %new);
}

1;
