// The official JavaScript client: https://www.npmjs.com/package/@kubernetes/client-node
import assert from 'node:assert/strict';

const k8s = await import(`${process.env.NODE_MODULES}/@kubernetes/client-node/dist/index.js`);
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const namespace = 'default';
const path = `/api/v1/namespaces/${namespace}/configmaps`;

// Resolves when `done` says so; rejects when that takes too long.
const within = (what, promise) =>
  Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`${what}: too slow`)), 15000).unref())]);

const seen = [];
let finished;
const deleted = new Promise((yes) => (finished = yes));
const listed = await core.listNamespacedConfigMap({ namespace });
const watching = await new k8s.Watch(config).watch(
  path,
  { resourceVersion: listed.metadata.resourceVersion },
  (kind, object) => {
    seen.push([kind, object.metadata.name]);
    if (kind === 'DELETED') finished();
  },
  (error) => error && error.name !== 'AbortError' && console.error('the watch ended', error),
);

const informed = [];
const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace }));
informer.on('add', (object) => informed.push(['add', object.metadata.name]));
informer.on('update', (object) => informed.push(['update', object.metadata.name]));
let forgotten;
const gone = new Promise((yes) => (forgotten = yes));
informer.on('delete', (object) => {
  informed.push(['delete', object.metadata.name]);
  forgotten();
});
informer.on('error', (error) => console.error('the informer failed', error));
await informer.start();

await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'one' }, data: { a: '1' } } });
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const patched = await objects.patch(
  { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'one', namespace }, data: { b: '2' } },
  undefined,
  undefined,
  'node',
  undefined,
  k8s.PatchStrategy.MergePatch,
);
assert.deepEqual(patched.data, { a: '1', b: '2' });
const all = await core.listNamespacedConfigMap({ namespace });
assert.deepEqual(all.items.map((item) => item.metadata.name), ['one']);
await core.deleteNamespacedConfigMap({ namespace, name: 'one' });
await within('the watch', deleted);
await within('the informer', gone);
assert.deepEqual(seen, [['ADDED', 'one'], ['MODIFIED', 'one'], ['DELETED', 'one']]);
assert.equal(informed.at(-1)[0], 'delete');
await assert.rejects(core.readNamespacedConfigMap({ namespace, name: 'one' }), (error) => error.code === 404);
watching.abort();
await informer.stop();
console.log('fine');
process.exit(0);
