import { option } from './option.ts';
import * as parse from './parsers.ts';

/** How an agent learns the mesh from a control plane. */
export const discoveryOptions = {
  xdsAddress: option({
    env: 'HADAL_XDS_ADDRESS',
    group: 'Control plane',
    parse: parse.optionalServer,
    default: '',
    unit: 'host:port',
    doc: 'Control plane that tells workloads, services and policies, over TLS: `hadal control-plane`, or istiod on 15012. Empty: the file HADAL_STATE_FILE tells them.',
  }),
  xdsRootFile: option({
    env: 'HADAL_XDS_ROOT_FILE',
    group: 'Control plane',
    parse: parse.path,
    default: '/var/run/secrets/istio/root-cert.pem',
    unit: 'path',
    doc: "Roots that may have signed the control plane's certificate, as PEM. Read again while the agent runs.",
  }),
  xdsServerName: option({
    env: 'HADAL_XDS_SERVER_NAME',
    group: 'Control plane',
    parse: parse.text,
    default: '',
    defaultDoc: 'the host of HADAL_XDS_ADDRESS',
    unit: 'name',
    doc: "Name that the control plane's certificate must have.",
  }),
  xdsOnDemand: option({
    env: 'HADAL_XDS_ON_DEMAND',
    group: 'Control plane',
    parse: parse.boolean,
    default: 'false',
    unit: 'true or false',
    doc: 'Workloads and services are asked for one by one, when a connection needs them, instead of all being sent. For very large meshes; policies are always all sent.',
  }),
};
