#!/usr/bin/perl
# Submits one job, and prints its result.
#
#     apt-get install libgearman-client-perl
#     perl client.pl [-b] [-u UNIQUE] FUNCTION [WORKLOAD]
#
# Without WORKLOAD it is read from standard input. -b submits in the background and prints the job's handle; -u makes jobs
# with the same UNIQUE one job. Exits with 1 when the job fails. It connects to GEARMAN_SERVER or else to localhost:4730.

use strict;
use warnings;

use Gearman::Client;
use Gearman::Task;
use Getopt::Std;

$| = 1;

my %option;
getopts('bu:', \%option) && @ARGV or die "usage: perl client.pl [-b] [-u UNIQUE] FUNCTION [WORKLOAD]\n";
my ($function, $workload) = @ARGV;
$workload //= do { local $/; <STDIN> } // '';

my $client = Gearman::Client->new(
    job_servers => [$ENV{GEARMAN_SERVER} // 'localhost:4730'],
    exceptions  => 1,
);

my $failed = 0;
my $task = Gearman::Task->new($function, \$workload, {
    uniq        => $option{u} // '',
    on_data     => sub { print ${ shift() } },
    on_status   => sub { printf STDERR "progress %s/%s\n", @_ },
    on_complete => sub { print ${ shift() } },
    on_exception => sub { print STDERR "exception: $_[0]\n"; $failed = 1 },
    on_fail      => sub { print STDERR "job failed\n"; $failed = 1 },
});

if ($option{b}) {
    my $handle = $client->dispatch_background($task) or die "client.pl: no job server took the job\n";
    print "$handle\n";
    exit 0;
}

my $tasks = $client->new_task_set;
$tasks->add_task($task) or die "client.pl: no job server took the job\n";
$tasks->wait;
exit $failed;
