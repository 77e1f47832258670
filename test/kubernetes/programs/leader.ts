/** A replica that leads until it is killed; it says so once. */
import { LeaderElection } from '../../../src/source/api-server/leader-election.ts';
import { adminClient, type Machines } from '../machines.ts';

const [machines = '', namespace = '', leaseMs = ''] = process.argv.slice(2);
new LeaderElection(adminClient(JSON.parse(machines) as Machines), {
  namespace,
  name: 'writers',
  identity: 'other-process',
  leaseMs: Number(leaseMs),
  onLead: () => console.log('leading'),
}).start();
