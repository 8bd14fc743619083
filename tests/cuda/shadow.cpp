// A CUDA device that is not there: its memory is the host's; its kernels are the CPU's, run after a check of devices.
//
// Loaded before `import torch` (see shadow.py), it gives torch one device, cuda:0, in builds with and without CUDA:
// hooks and a guard say that there is one; for every operator that the CPU has a kernel of, the same kernel is
// registered for CUDA; and a generator draws what the CPU's draws. Tensors on it are ordinary tensors, so autograd,
// autocast, optimizers and checkpoints run as they are. An operator that is given tensors on both devices raises an
// error, as on a GPU, except where CUDA takes both: copies, indices on the CPU, single numbers in pointwise operators.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <set>

namespace {

const c10::Device CUDA0(c10::DeviceType::CUDA, 0), HOST(c10::DeviceType::CPU);

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return CUDA0; }
  c10::Device getDevice() const override { return CUDA0; }
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, CUDA0); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, CUDA0); }
};
c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, new Guard);

// A generator of the device: the CPU's generator, which the kernels below get instead of it.
struct Draws final : c10::GeneratorImpl {
  Draws()
      : GeneratorImpl(CUDA0, c10::DispatchKeySet(c10::DispatchKey::CUDA)),
        host(at::make_generator<at::CPUGeneratorImpl>()) {}
  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return host.seed(); }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "the shadow's generators have no offset"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "the shadow's generators have no offset"); }
  void set_state(const c10::TensorImpl& state) override { host.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return host.unsafeGetGeneratorImpl()->get_state(); }
  Draws* clone_impl() const override { TORCH_CHECK(false, "the shadow's generators are not copied"); }
  mutable at::Generator host;
};

// Memory of the device keeps the host's storage alive, and knows it.
struct Held {
  c10::Storage host;
};

void release(void* held) { delete static_cast<Held*>(held); }

c10::DataPtr pointer(const c10::Storage& host) {
  return c10::DataPtr(const_cast<void*>(host.data()), new Held{host}, &release, CUDA0);
}

const c10::Storage& host_storage(const c10::Storage& own) {
  auto* held = own.data_ptr().cast_context<Held>(&release);
  TORCH_CHECK(held, "memory of cuda:0 that the shadow did not make");
  return held->host;
}

at::Tensor tensor(c10::Storage storage, c10::DispatchKey key, const at::Tensor& like) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return made;
}

// One call of an operator: its arguments on the host, and its results back on the device.
struct Call {
  const c10::OperatorHandle& op;
  std::vector<std::pair<at::Tensor, at::Tensor>> tensors;  // on the device, and the same memory on the host

  at::Tensor to_host(const at::Tensor& own) {
    if (!own.defined() || !own.is_cuda()) return own;
    auto same = tensor(host_storage(own.storage()), c10::DispatchKey::CPU, own);
    tensors.emplace_back(own, same);
    return same;
  }

  c10::IValue to_host(const c10::IValue& value) {
    if (value.isTensor()) return to_host(value.toTensor());
    if (value.isDevice()) return HOST;
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& own : value.toTensorVector()) list.push_back(to_host(own));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const auto& own : value.toOptionalTensorVector())
        list.push_back(own ? std::optional<at::Tensor>(to_host(*own)) : std::nullopt);
      return list;
    }
    if (value.isGenerator()) {
      auto* own = dynamic_cast<Draws*>(value.toGenerator().unsafeGetGeneratorImpl());
      TORCH_CHECK(own, "Expected a 'cuda' device type for generator but found 'cpu'");
      return own->host;
    }
    if (value.isStorage() && value.toStorage().device() == CUDA0) return host_storage(value.toStorage());
    return value;
  }

  at::Tensor to_device(const at::Tensor& result) const {
    if (!result.defined() || result.is_cuda()) return result;
    for (const auto& [own, same] : tensors)
      if (same.storage().is_alias_of(result.storage()))  // a view
        return tensor(own.storage(), c10::DispatchKey::CUDA, result);
    auto storage = c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), result.storage().nbytes(), pointer(result.storage()), nullptr, false);
    return tensor(c10::Storage(std::move(storage)), c10::DispatchKey::CUDA, result);
  }

  c10::IValue to_device(const c10::IValue& result) const {
    if (result.isTensor()) return to_device(result.toTensor());
    if (!result.isTensorList()) return result;
    c10::List<at::Tensor> list;
    for (const at::Tensor& one : result.toTensorVector()) list.push_back(to_device(one));
    return list;
  }

  // What was resized on the host is resized on the device.
  void follow() const {
    for (const auto& [own, same] : tensors) {
      if (own.sizes() != same.sizes() || own.strides() != same.strides())
        own.unsafeGetTensorImpl()->set_sizes_and_strides(same.sizes(), same.strides(), same.storage_offset());
      auto* storage = own.storage().unsafeGetStorageImpl();
      if (storage->data() != same.storage().data()) storage->set_data_ptr_noswap(pointer(same.storage()));
      storage->set_nbytes(same.storage().nbytes());
    }
  }

  bool takes(const c10::Argument& argument, const at::Tensor& host, bool scalars) const {
    const auto& name = op.schema().name();
    if (name == "aten::copy_" || name == "aten::set_") return true;
    if (argument.name() == "indices" && name.find("index") != std::string::npos) return true;  // copied to the device
    if (argument.name() == "input_lengths" || argument.name() == "target_lengths") return true;  // of CTC: read there
    return host.dim() == 0 && (scalars || host.unsafeGetTensorImpl()->is_wrapped_number());
  }

  void check(const std::vector<c10::IValue>& values) const {
    static const std::set<std::string> numbers = {
        "aten::fill_", "aten::masked_fill", "aten::masked_fill_", "aten::where",
        "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"};
    const auto& schema = op.schema();
    const bool scalars = op.hasTag(at::Tag::pointwise) || numbers.count(schema.name());
    const c10::Argument* strange = nullptr;
    bool on_device = false;
    for (size_t i = 0; i < values.size(); ++i) {
      const auto& argument = schema.arguments()[i];
      auto look = [&](const at::Tensor& x) {
        if (!x.defined()) return;
        if (x.is_cuda()) on_device = true;
        else if (!takes(argument, x, scalars)) strange = &argument;
      };
      if (values[i].isTensor()) look(values[i].toTensor());
      else if (values[i].isTensorList()) for (const auto& x : values[i].toTensorVector()) look(x);
      else if (values[i].isOptionalTensorList())
        for (const auto& x : values[i].toOptionalTensorVector()) if (x) look(*x);
    }
    TORCH_CHECK(!(on_device && strange), "Expected all tensors to be on the same device, but found at least two ",
                "devices, cuda:0 and cpu! (argument ", strange ? strange->name() : "", " of ", schema.name(), ")");
  }
};

void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::AutoDispatchBelowADInplaceOrView below;
  const auto& schema = op.schema();
  const size_t first = stack->size() - schema.arguments().size();
  const std::vector<c10::IValue> given(stack->begin() + first, stack->end());
  Call call{op, {}};
  call.check(given);
  for (size_t i = 0; i < given.size(); ++i) (*stack)[first + i] = call.to_host(given[i]);
  op.callBoxed(stack);
  call.follow();
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    auto& result = (*stack)[first + i];
    const auto* alias = schema.returns()[i].alias_info();
    if (alias && alias->isWrite()) {  // an argument that was written to is returned itself
      for (size_t j = 0; j < given.size(); ++j) {
        const auto* other = schema.arguments()[j].alias_info();
        if (other && *other == *alias) result = given[j];
      }
    } else {
      result = call.to_device(result);
    }
  }
}

// Of every operator that has a kernel for the CPU (or, in builds with CUDA, a real one for it).
struct Kernels {
  std::vector<c10::RegistrationHandleRAII> handles;
  Kernels() {
    const std::set<std::string> more = {"aten::copy_", "aten::convolution", "aten::convolution_backward"};
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const auto& name : dispatcher.getAllOpNames()) {
      auto op = dispatcher.findOp(name);
      if (!op || !op->hasSchema() || name.name.rfind("aten::", 0) != 0) continue;
      if (op->hasKernelForDispatchKey(c10::DispatchKey::CPU) || op->hasKernelForDispatchKey(c10::DispatchKey::CUDA) ||
          more.count(name.name))
        handles.push_back(dispatcher.registerImpl(name, c10::DispatchKey::CUDA,
                                                  c10::KernelFunction::makeFromBoxedFunction<&run>(), std::nullopt,
                                                  nullptr, "shadow"));
    }
  }
};
Kernels kernels;

}  // namespace

namespace at {
struct ShadowHooks : public CUDAHooksInterface {
  explicit ShadowHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  DeviceIndex current_device() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  std::string showConfig() const override { return ""; }
  long versionCuDNN() const override { return 0; }
  long versionRuntimeCuDNN() const override { return 0; }
  long versionCuDNNFrontend() const override { return 0; }
  at::Generator getNewGenerator(DeviceIndex) const override { return at::make_generator<Draws>(); }
  const at::Generator& getDefaultGenerator(DeviceIndex) const override {
    static const at::Generator generator = at::make_generator<Draws>();
    return generator;
  }
};
C10_REGISTER_CLASS_WITH_PRIORITY(CUDAHooksRegistry, CUDAHooks, c10::REGISTRY_PREFERRED, ShadowHooks)
}  // namespace at
