import { setTimeout as delay } from 'node:timers/promises';
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type status,
} from '@grpc/grpc-js';
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../src/proto/discovery.gen.ts';

type Call = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** A control plane that says what a test has it say, over a real socket. */
export class ScriptedServer {
  readonly server = new Server();
  readonly streams: ScriptedStream[] = [];
  port = 0;
  /** Refuses each new stream with this. */
  refusal: { readonly code: status; readonly details: string } | undefined;

  constructor() {
    this.server.addService(AggregatedDiscoveryServiceService, {
      deltaAggregatedResources: (call: Call) => {
        if (this.refusal === undefined) this.streams.push(new ScriptedStream(call));
        else call.emit('error', this.refusal);
      },
    });
  }

  async listen(credentials = ServerCredentials.createInsecure(), port = 0): Promise<this> {
    this.port = await new Promise<number>((resolve, reject) => {
      this.server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return this;
  }

  /** The nth stream, once it is there. */
  async stream(index = 0): Promise<ScriptedStream> {
    for (let waited = 0; waited < 5_000; waited += 5) {
      const stream = this.streams[index];
      if (stream !== undefined) return stream;
      await delay(5);
    }
    throw new Error(`no stream ${index} within 5 s`);
  }

  close(): void {
    this.server.forceShutdown();
  }
}

export class ScriptedStream {
  readonly #call: Call;
  readonly requests: DeltaDiscoveryRequest[] = [];
  #read = 0;
  #nonce = 0;
  /** Says of what follows that there is more to come, as a control plane of ours does. */
  more = false;

  constructor(call: Call) {
    this.#call = call;
    call.on('data', (request: DeltaDiscoveryRequest) => this.requests.push(request));
    call.on('error', () => {});
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  /** The next request that was not taken yet. */
  async request(): Promise<DeltaDiscoveryRequest> {
    for (let waited = 0; waited < 5_000; waited += 5) {
      const request = this.requests[this.#read];
      if (request !== undefined) {
        this.#read++;
        return request;
      }
      await delay(5);
    }
    throw new Error('no request within 5 s');
  }

  /** Says it, and returns the nonce. */
  say(
    typeUrl: string,
    resources: readonly { name: string; version?: string; value: Uint8Array }[],
    removedResources: readonly string[] = [],
    systemVersionInfo = '',
  ): string {
    const nonce = `n${++this.#nonce}${this.more ? '.more' : ''}`;
    const response = DeltaDiscoveryResponse.fromPartial({
      typeUrl,
      nonce,
      systemVersionInfo,
      removedResources: [...removedResources],
      resources: resources.map(({ name, version = 'v1', value }) => ({
        name,
        version,
        resource: { typeUrl, value },
      })),
    });
    this.#call.write(response);
    return nonce;
  }

  /** Says it and takes the answer. */
  async ask(...said: Parameters<ScriptedStream['say']>): Promise<DeltaDiscoveryRequest> {
    const nonce = this.say(...said);
    const answer = await this.request();
    if (answer.responseNonce !== nonce) throw new Error(`${answer.responseNonce} answers ${nonce}`);
    return answer;
  }

  end(): void {
    this.#call.end();
  }

  fail(code: status, details: string): void {
    this.#call.emit('error', { code, details });
  }
}
