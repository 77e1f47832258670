/** Types of resources, as discovery names them. */
export const addressType = 'type.googleapis.com/istio.workload.Address';
/** Workloads alone; what agents ask for is the type above. */
export const workloadType = 'type.googleapis.com/istio.workload.Workload';
export const authorizationType = 'type.googleapis.com/istio.security.Authorization';
