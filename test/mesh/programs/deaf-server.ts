// Takes connections and reads nothing: `deaf-server.ts PORT`. With every connection comes one JSON line: {"held":N}.
import { createServer } from 'node:net';

const [port = ''] = process.argv.slice(2);
let held = 0;
createServer({ pauseOnConnect: true }, (socket) => {
  socket.on('error', () => {});
  held++;
  console.log(JSON.stringify({ held }));
}).listen(Number(port), '::', () => console.log(JSON.stringify({ held })));
