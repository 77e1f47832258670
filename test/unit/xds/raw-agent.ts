// An agent that speaks HTTP/2 by itself: it can stop reading, and send what no client would.
import { type ClientHttp2Stream, connect } from 'node:http2';
import { onTestFinished } from 'vitest';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../../src/proto/discovery.gen.ts';
import type { RequestFields } from './discovery.ts';

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

export class RawAgent {
  readonly stream: ClientHttp2Stream;
  readonly responses: DeltaDiscoveryResponse[] = [];
  /** The status of gRPC with which the stream ended; undefined when it had none. */
  readonly ended: Promise<string | undefined>;
  #rest = Buffer.alloc(0);

  constructor(address: string) {
    const session = connect(`http://${address}`);
    session.on('error', () => {});
    this.stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    this.stream.on('error', () => {});
    let status: string | undefined;
    this.stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'] as string | undefined;
    });
    this.stream.on('response', (headers) => {
      status = headers['grpc-status'] as string | undefined;
    });
    this.ended = new Promise((resolve) => {
      this.stream.on('end', () => resolve(status));
      this.stream.on('close', () => resolve(status));
    });
    onTestFinished(() => session.destroy());
  }

  /** Begins to read. */
  read(): void {
    this.stream.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
        const end = 5 + this.#rest.readUInt32BE(1);
        this.responses.push(DeltaDiscoveryResponse.decode(this.#rest.subarray(5, end)));
        this.#rest = this.#rest.subarray(end);
      }
    });
  }

  send(fields: RequestFields): void {
    this.sendBytes(DeltaDiscoveryRequest.encode(DeltaDiscoveryRequest.fromPartial(fields)).finish());
  }

  /** The head of a message of so many bytes, and nothing after it. */
  announce(length: number): void {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(length, 1);
    this.stream.write(head);
  }

  sendBytes(message: Uint8Array): void {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    this.stream.write(Buffer.concat([head, message]));
  }
}
