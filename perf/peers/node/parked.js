const B = require('./bench');
// n async functions, each awaiting its own promise
async function main() { const n = B.arg(1, 100000), pause = B.arg(2, 50), r0 = B.rssKB(); let s = 0, t = performance.now(); B.start();
  const wake = [], done = [];
  for (let i = 0; i < n; i++) done.push((async () => { const v = await new Promise(r => wake.push(r)); s += v; })());
  console.log('@spawn_us ' + ((performance.now() - t) * 1e3 / n).toFixed(3));
  const cpu = process.cpuUsage(); await new Promise(r => setTimeout(r, pause)); const used = process.cpuUsage(cpu);
  console.log('@idle_cpu_ms ' + ((used.user + used.system) / 1e3).toFixed(1)); console.log('@bytes_per_proc ' + ((B.rssKB() - r0) * 1024 / n).toFixed(0));
  t = performance.now(); for (let i = 0; i < n; i++) wake[i](i + 1); await Promise.all(done);
  console.log('@wake_ms ' + (performance.now() - t).toFixed(3)); B.stop(); console.log(s); }
main();
