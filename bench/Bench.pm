package Bench;

# Bench.pm: both sides of a claim in one run, and one way to print it.
#
#     use Bench;
#     my $dbh = Bench::connect();
#     Bench::title('what is compared, on how many rows');
#     Bench::pair('claim', runs => 7, unit => 'ms', floor => 100,
#         new => ['cozi', sub { ... }], old => ['plain SQL', sub { ... }]);
#
# A side is a sub that does the work once and returns nothing (its wall time
# counts, in the unit) or a number (a time, or with more => 1 a rate, that it
# measured itself).  The sides take turns, so that a drifting machine slows
# both; the ratio is taken pair by pair and its median printed with the spread.

use strict;
use warnings;
use Time::HiRes qw(time);
use DBI;

sub connect
{
	my ($db) = @_;
	$db ||= $ENV{PGDATABASE};
	return DBI->connect(
		"dbi:Pg:dbname=$db;host=$ENV{PGHOST};port=$ENV{PGPORT}",
		$ENV{PGUSER},
		'',
		{
			RaiseError => 1,
			AutoCommit => 1,
			PrintError => 0,
			PrintWarn => 0,
			pg_server_prepare => 0
		});
}

# The most memory of its own that the server of a session has had, in MB.
sub memory
{
	my ($session) = @_;
	my ($status) = $session->selectrow_array(q{SELECT pg_read_file('/proc/self/status')});
	my %kb = $status =~ /^(\w+):\s+(\d+) kB$/mg;
	return ($kb{VmHWM} - $kb{RssShmem} - $kb{RssFile}) / 1024;
}

# A file of statements for pgbench, in the directory of the run; returns its path.
sub script
{
	my ($name, $sql) = @_;
	my $path = "$ENV{COZI_WORK}/$name.sql";
	open my $f, '>', $path or die $!;
	print $f $sql;
	close $f;
	return $path;
}

# The milliseconds that the backend of a connection has spent on a CPU: what other work
# the machine does moves the clock more than most of what is measured here.
sub cpu
{
	my ($dbh) = @_;
	my $file = "/proc/$dbh->{pg_pid}/schedstat";
	open my $stat, '<', $file or die "$file: $!\n";
	return (split ' ', <$stat>)[0] / 1e6;
}

sub median
{
	my @s = sort { $a <=> $b } @_;
	return @s % 2 ? $s[ $#s / 2 ] : ($s[ @s / 2 - 1 ] + $s[ @s / 2 ]) / 2;
}

sub spread
{
	my ($fmt, @v) = @_;
	my @s = sort { $a <=> $b } @v;
	return sprintf("$fmt ($fmt..$fmt)", median(@v), $s[0], $s[-1]);
}

sub num { my $v = shift; return $v >= 100 ? '%.0f' : $v >= 1 ? '%.2f' : '%.4f'; }

sub title
{
	print "\n$_[0]\n";
	printf "%-44s %-34s %-34s %s\n", 'claim', 'new', 'old', 'ratio';
	return;
}

sub side
{
	my ($sub, $scale) = @_;
	my $t = time;
	my $own = $sub->();
	my $took = time - $t;
	return defined $own && !ref $own && $own =~ /^[\d.eE+-]+$/ ? $own : $took * $scale;
}

# Returns the median ratio: how many times better the new side is.
sub pair
{
	my ($claim, %o) = @_;
	my $runs = $o{runs} || 5;
	my $unit = $o{unit} || 'ms';
	my $scale = { s => 1, ms => 1e3, us => 1e6 }->{$unit} || 1;
	my (@new, @old, @ratio);
	side($o{$_}[1], $scale) for $o{warm} ? () : ('new', 'old');
	for my $i (1 .. $runs)
	{
		# each pair begins with the other side
		my ($n, $p);
		if   ($i % 2) { $n = side($o{new}[1], $scale); $p = side($o{old}[1], $scale); }
		else          { $p = side($o{old}[1], $scale); $n = side($o{new}[1], $scale); }
		push @new, $n;
		push @old, $p;
		push @ratio, $o{more} ? $n / $p : $p / $n;
	}
	my $r = median(@ratio);
	printf "%-44s %-34s %-34s %s%s\n", $claim,
	  "$o{new}[0]: " . spread(num(median(@new)), @new) . " $unit",
	  "$o{old}[0]: " . spread(num(median(@old)), @old) . " $unit",
	  spread($r >= 100 ? '%.0fx' : '%.2fx', @ratio),
	  defined $o{floor} ? "  at least $o{floor}x: " . ($r >= $o{floor} ? 'yes' : 'NO') : '';
	return $r;
}

# pgbench on the running server: transactions a second, without connecting.
sub pgbench
{
	my (%o) = @_;
	my @cmd = (
		'pgbench', '-n',
		'-M', $o{protocol} || 'simple',
		'-c', $o{clients} || 1,
		'-j', $o{threads} || 2,
		'-T', $o{seconds} || 5,
		(map { ('-f', $_) } @{ $o{files} }), @{ $o{args} || [] },
		$ENV{PGDATABASE});
	my $out = qx(@cmd 2>&1);
	$out =~ /tps = ([\d.]+) \(without initial/ or die $out;
	return $1;
}

1;
