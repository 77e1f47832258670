import { canonicalAddress } from '../model/address.ts';

/** How a pod looks names up. */
export interface ResolverConfiguration {
  readonly nameservers: readonly string[];
  /** Lower case, without the last dot. */
  readonly search: readonly string[];
  /** A name with fewer dots is tried under the search domains. */
  readonly ndots: number;
}

const mostNameservers = 3;
const mostSearchDomains = 32;
const mostDots = 15;

/** As glibc and musl read it: the last `search` or `domain` counts, what is not understood is passed over. */
export function parseResolvConf(text: string): ResolverConfiguration {
  const nameservers: string[] = [];
  let search: string[] = [];
  let ndots = 1;
  for (const line of text.split('\n')) {
    const [keyword = '', ...words] = line.trim().split(/\s+/);
    if (keyword === 'nameserver') {
      const address = canonicalAddress((words[0] ?? '').replace(/%.*$/, ''));
      if (address !== undefined) nameservers.push(address);
    } else if (keyword === 'search' || keyword === 'domain') {
      search = (keyword === 'domain' ? words.slice(0, 1) : words).map(plainDomain).filter(Boolean);
    } else if (keyword === 'options') {
      for (const word of words) {
        const dots = /^ndots:(\d+)$/.exec(word)?.[1];
        if (dots !== undefined) ndots = Math.min(Number(dots), mostDots);
      }
    }
  }
  return {
    nameservers: nameservers.slice(0, mostNameservers),
    search: search.slice(0, mostSearchDomains),
    ndots,
  };
}

/** What Kubernetes gives a pod that asks for nothing else. */
export function clusterConfiguration(namespace: string, clusterDomain: string): ResolverConfiguration {
  return {
    nameservers: [],
    search: [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain],
    ndots: 5,
  };
}

function plainDomain(text: string): string {
  return text.toLowerCase().replace(/\.$/, '');
}
